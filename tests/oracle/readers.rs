//! What the ledger keeps for readers alone, against what the oracle works out from everything it knows.
//! The steps of exits are compared with the event lines.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use btkn_indexer::ledger::activity::{Activity, ExitStep, Flow};
use btkn_indexer::ledger::keys::{ExitKind, KeyPart};
use btkn_indexer::ledger::tables as t;
use btkn_indexer::ledger::{Rules, View};
use btkn_indexer::protocol::ttxo::Ttxo;

use super::compare::{Rows, Topic, all, at, at_of, entities, metadata};
use super::rules::{Oracle, Verdict};

/// The rows for readers by topic, as the ledger has them and as the oracle works them out.
pub fn topics(view: &impl View, rules: &Rules, oracle: &Oracle) -> Vec<Topic> {
    vec![
        ("holders and totals", ledger_holders(view, rules), holders(oracle)),
        ("names of tokens", ledger_names(view), names(oracle)),
        ("lists of exits", ledger_lists(view, rules), lists(oracle)),
        ("activities", ledger_activities(view, rules), activities(oracle)),
    ]
}

fn ledger_holders(view: &impl View, rules: &Rules) -> Rows {
    let name = |entity| rules.entities.get(entity).expect("an entity of the configuration").id();
    let mut rows = Rows::new();
    for ((token, Reverse(amount), owner, entity), _) in all::<t::HoldersByAmount>(view) {
        rows.insert(format!("{} {token} {owner}", name(entity)), amount.to_string());
    }
    for (token, count) in all::<t::HolderCounts>(view) {
        rows.insert(token.to_string(), count.to_string());
    }
    for ((token, entity), totals) in all::<t::Totals>(view) {
        let sums = [totals.exiting, totals.claimed, totals.revoked].map(|sum| sum.capped().0);
        rows.insert(format!("{} {token}", name(entity)), format!("{} {sums:?}", totals.holders));
    }
    rows
}

fn holders(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    let (mut owners, mut totals) = (BTreeMap::new(), BTreeMap::new());
    for ((name, owner, token), [available, exiting, _]) in oracle.balances() {
        rows.insert(format!("{name} {token} {owner}"), available.saturating_add(exiting).to_string());
        owners.entry(token).or_insert_with(BTreeSet::new).insert(owner);
        totals.entry((name, token)).or_insert((0, [0u128; 3])).0 += 1;
    }
    for (a, r, ttxo) in judged_by_ttxo(oracle) {
        let announcement = &oracle.announcements[a];
        let sum = match oracle.exit_state(a, r, oracle.tip()).as_str() {
            "pending" | "matured" => 0,
            "claimed" => 1,
            "revoked" => 2,
            _ => continue,
        };
        if oracle.standing(announcement.entity, ttxo.outpoint) == Some((a, r)) {
            let name = oracle.config.id(announcement.entity);
            let (_, sums) = totals.entry((name, ttxo.token)).or_default();
            sums[sum] = sums[sum].saturating_add(ttxo.amount.0);
        }
    }
    totals.retain(|_, totals| *totals != (0, [0; 3]));
    rows.extend(owners.into_iter().map(|(token, owners)| (token.to_string(), owners.len().to_string())));
    rows.extend(
        totals.into_iter().map(|((name, token), (holders, sums))| {
            (format!("{name} {token}"), format!("{holders} {sums:?}"))
        }),
    );
    rows
}

/// Exits with an owner: all TTXOs of the announcement were looked at.
fn judged_by_ttxo(oracle: &Oracle) -> Vec<(usize, usize, Ttxo)> {
    let mut exits = Vec::new();
    for (a, announcement) in oracle.announcements.iter().enumerate() {
        for (r, record) in announcement.records.iter().enumerate() {
            let looked_at = match record.verdict {
                Verdict::Unresolved => false,
                Verdict::Invalid { reason, .. } => reason != "duplicate_vout",
                Verdict::Valid { .. } => true,
            };
            if looked_at {
                let ttxo = oracle.ever_declared(announcement.entity, record.ttxo);
                exits.push((a, r, ttxo.expect("it was looked at")));
            }
        }
    }
    exits
}

fn ledger_names(view: &impl View) -> Rows {
    let mut rows = Rows::new();
    for ((kind, name, token), _) in all::<t::TokenNames>(view) {
        let name = String::from_utf8(name.to_key()).expect("UTF-8 and zeros");
        rows.insert(format!("{kind:?} {} {token}", name.trim_end_matches('\0')), String::new());
    }
    for ((issuer, token), _) in all::<t::IssuerTokens>(view) {
        rows.insert(format!("{issuer} {token}"), String::new());
    }
    rows
}

fn names(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    for (token, (metadata, _)) in metadata(oracle) {
        rows.insert(format!("Ticker {} {token}", metadata.ticker.to_lowercase()), String::new());
        rows.insert(format!("Name {} {token}", metadata.name.to_lowercase()), String::new());
        rows.insert(format!("{} {token}", metadata.issuer), String::new());
    }
    rows
}

fn ledger_lists(view: &impl View, rules: &Rules) -> Rows {
    let name = |entity| rules.entities.get(entity).expect("an entity of the configuration").id();
    let order = |(place, record): t::ExitOrder| format!("{} {record}", at(place));
    let mut rows = Rows::new();
    let mut insert = |of: String, kind: ExitKind, exit, id| {
        let kind = format!("{kind:?}").to_lowercase();
        rows.insert(format!("{of} {kind} {}", order(exit)), format!("{id}"));
    };
    for ((owner, kind, exit), id) in all::<t::ExitsByOwner>(view) {
        insert(format!("owner {owner}"), kind, exit, id);
    }
    for ((token, kind, exit), id) in all::<t::ExitsByToken>(view) {
        insert(format!("token {token}"), kind, exit, id);
    }
    for ((entity, kind, exit), id) in all::<t::ExitsByEntity>(view) {
        insert(format!("entity {}", name(entity)), kind, exit, id);
    }
    rows
}

fn lists(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    let mut insert = |of: String, a: usize, r: usize| {
        let state = oracle.exit_state(a, r, oracle.tip());
        let kind = state.split(':').next().expect("there is a first part");
        let place = at_of(oracle.announcements[a].at);
        rows.insert(format!("{of} {kind} {place} {r}"), oracle.exit_name(a, r));
    };
    for (a, announcement) in oracle.announcements.iter().enumerate() {
        for r in 0..announcement.records.len() {
            insert(format!("entity {}", oracle.config.id(announcement.entity)), a, r);
        }
    }
    for (a, r, ttxo) in judged_by_ttxo(oracle) {
        insert(format!("owner {}", ttxo.owner), a, r);
        insert(format!("token {}", ttxo.token), a, r);
    }
    rows
}

fn ledger_activities(view: &impl View, rules: &Rules) -> Rows {
    let mut rows = Rows::new();
    let mut last = None;
    for ((owner, Reverse(height), number), activity) in all::<t::Activities>(view) {
        let expected = match last {
            Some((o, h, n)) if (o, h) == (owner, height) => n + 1,
            _ => 0,
        };
        assert_eq!(number, expected, "activities of a block are numbered");
        last = Some((owner, height, number));
        let (what, row) = match activity {
            Activity::Snapshot { entity, sequence, token, declared, dropped } => {
                let name = rules.entities.get(entity).expect("an entity of the configuration").id();
                let flow = |flow: Flow| (flow.count, flow.amount.0);
                (format!("{name} {sequence} {token}"), format!("{:?} {:?}", flow(declared), flow(dropped)))
            }
            Activity::Exit { exit, token, step } => match step {
                ExitStep::Judged(state) => (format!("{exit} {token} judged"), state.to_string()),
                ExitStep::Matured => (format!("{exit} {token} matured"), String::new()),
                ExitStep::Spent(state) => (format!("{exit} {token} spent"), state.to_string()),
                ExitStep::Reinstated(by) => (format!("{exit} {token} reinstated"), by.to_string()),
            },
        };
        rows.insert(format!("{owner} {height} {what}"), row);
    }
    rows
}

fn activities(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    let mut flows: BTreeMap<String, [(u64, u128); 2]> = BTreeMap::new();
    for (entity, name) in entities(oracle) {
        for (outpoint, ttxo) in oracle.ever(entity) {
            for (activation, declared) in oracle.changes(entity, outpoint) {
                let sequence = oracle.accepted[activation.accepted].manifest.sequence;
                let height = activation.at.height;
                let key = format!("{} {height} {name} {sequence} {}", ttxo.owner, ttxo.token);
                let flow = &mut flows.entry(key).or_default()[usize::from(!declared)];
                *flow = (flow.0 + 1, flow.1 + ttxo.amount.0);
            }
        }
    }
    rows.extend(
        flows.into_iter().map(|(key, [declared, dropped])| (key, format!("{declared:?} {dropped:?}"))),
    );
    let exits = judged_by_ttxo(oracle).into_iter().map(|(a, r, ttxo)| (oracle.exit_name(a, r), (a, r, ttxo)));
    let exits: BTreeMap<String, _> = exits.collect();
    for (height, block) in (oracle.config.start..).zip(&oracle.blocks) {
        for line in block.events.lines().filter(|line| line.starts_with("exit")) {
            let words: Vec<&str> = line.split(' ').collect();
            let Some((a, r, ttxo)) = exits.get(words[1]) else { continue };
            let key = |step: &str| format!("{} {height} {} {} {step}", ttxo.owner, words[1], ttxo.token);
            match words[0] {
                "exit" if words[4] == "unresolved" => {}
                "exit" => {
                    rows.insert(key("judged"), words[4].into());
                    // Spent earlier in the same block, which is no line, but a step.
                    if oracle.spend_of(*a, *r).is_some_and(|spent| spent.height == height)
                        && ["revoked", "claimed"].contains(&words[4])
                    {
                        rows.insert(key("spent"), words[4].into());
                    }
                }
                "exit_matured" => drop(rows.insert(key("matured"), String::new())),
                "exit_spent" => {
                    rows.insert(key("spent"), words[3].into());
                    // Judged in the same block, the step says how that ended.
                    rows.entry(key("judged")).and_modify(|state| *state = words[3].into());
                }
                "exit_reinstated" => {
                    let verdict = oracle.announcements[*a].records[*r].verdict;
                    let Verdict::Valid { reinstated: Some(by), .. } = verdict else {
                        unreachable!("{line}, but it is {verdict:?}")
                    };
                    rows.insert(key("reinstated"), by.to_string());
                }
                _ => unreachable!("{line} is no line about an exit"),
            }
        }
    }
    rows
}
