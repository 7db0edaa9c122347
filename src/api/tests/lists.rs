//! Lists in other orders, and parts of lists: each is what sorting and filtering the whole one gives.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::regtest::Regtest;

async fn rows(path: &str, name: &str) -> Vec<Value> {
    let (regtest, mut rows) = (Regtest::open(), Vec::new());
    let separator = if path.contains('?') { '&' } else { '?' };
    let mut next = format!("{path}{separator}limit=3");
    loop {
        let reply = regtest.get(&next).await;
        assert_eq!(reply.status, 200, "{next}: {}", reply.body);
        rows.extend_from_slice(reply.body[name].as_array().unwrap());
        match reply.body["next_cursor"].as_str() {
            Some(cursor) => next = format!("{path}{separator}limit=3&cursor={cursor}"),
            None => return rows,
        }
    }
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

#[tokio::test]
async fn holders_by_amount_are_the_holders_the_greatest_first() {
    for token in rows("/v1/tokens", "tokens").await {
        let path = format!("/v1/tokens/{}/holders", text(&token, "token_id"));
        let by_key = rows(&path, "holders").await;
        let by_amount = rows(&format!("{path}?order=amount"), "holders").await;
        let held = |row: &Value| {
            ["available", "exiting"].map(|sum| text(row, sum).parse::<u128>().unwrap()).iter().sum::<u128>()
        };
        assert!(by_amount.windows(2).all(|pair| held(&pair[0]) >= held(&pair[1])), "{path}");
        let mut owners: Vec<_> = by_key.iter().map(|row| text(row, "owner").to_owned()).collect();
        owners.dedup();
        assert_eq!(token["holders"], owners.len(), "{path}");
        assert_eq!(sorted(by_amount), sorted(by_key), "{path}");
    }
}

#[tokio::test]
async fn tokens_are_found_by_the_beginnings_of_their_names() {
    let all = rows("/v1/tokens", "tokens").await;
    for (field, prefix) in
        [("ticker", "RS"), ("ticker", "rg"), ("name", "regtest "), ("name", "Blei"), ("name", "x")]
    {
        let found = rows(&format!("/v1/tokens?{field}={}", prefix.replace(' ', "%20")), "tokens").await;
        let begins =
            |row: &&Value| text(&row["metadata"], field).to_lowercase().starts_with(&prefix.to_lowercase());
        let expected: Vec<Value> = all.iter().filter(begins).cloned().collect();
        assert_eq!(sorted(found), sorted(expected), "{field} {prefix}");
    }
    let issuer = all.iter().map(|row| text(&row["metadata"], "issuer")).find(|key| !key.is_empty()).unwrap();
    let found = rows(&format!("/v1/tokens?issuer={issuer}"), "tokens").await;
    assert!(!found.is_empty() && found.iter().all(|row| text(&row["metadata"], "issuer") == issuer));
}

#[tokio::test]
async fn parts_of_the_exits_are_what_filtering_all_of_them_gives() {
    let all = rows("/v1/exits", "exits").await;
    let check = async |query: String, belongs: &dyn Fn(&Value) -> bool| {
        let expected: Vec<Value> = all.iter().filter(|row| belongs(row)).cloned().collect();
        assert_eq!(sorted(rows(&query, "exits").await), sorted(expected), "{query}");
    };
    for state in ["unresolved", "pending", "matured", "revoked", "claimed", "invalid"] {
        check(format!("/v1/exits?state={state}"), &|row| text(row, "state") == state).await;
        let of_entity = |row: &Value| text(row, "state") == state && text(row, "entity_name") == "rivals";
        check(format!("/v1/exits?state={state}&entity=rivals"), &of_entity).await;
    }
    let judged = |row: &Value| !row["judged_height"].is_null() && text(row, "reason") != "duplicate_vout";
    for exit in &all {
        let (owner, token) = (text(&exit["holding"], "owner"), text(&exit["holding"], "token_id"));
        if !owner.is_empty() {
            let of_owner = |row: &Value| text(&row["holding"], "owner") == owner && judged(row);
            check(format!("/v1/exits?owner={owner}"), &of_owner).await;
            check(format!("/v1/owners/{owner}/exits"), &of_owner).await;
            let of_token = |row: &Value| text(&row["holding"], "token_id") == token && judged(row);
            check(format!("/v1/exits?token={token}"), &of_token).await;
        }
        if text(exit, "state") == "pending" {
            let height = &exit["matures_height"];
            let at = |row: &Value| text(row, "state") == "pending" && &row["matures_height"] == height;
            check(format!("/v1/exits?matures_at={height}"), &at).await;
            let by = |row: &Value| {
                text(row, "state") == "pending" && row["matures_height"].as_u64() <= height.as_u64()
            };
            check(format!("/v1/exits?matures_by={height}"), &by).await;
        }
    }
}

#[tokio::test]
async fn filters_that_exclude_each_other_are_refused() {
    let (regtest, key, id) = (Regtest::open(), "02".repeat(33), "ab".repeat(32));
    for query in [
        format!("owner={key}&token={id}"),
        format!("ttxo={id}:0&state=pending"),
        "matures_at=5&matures_by=6".into(),
        "matures_at=5&state=pending".into(),
        "state=lost".into(),
        "matures_by=x".into(),
    ] {
        let reply = regtest.get(&format!("/v1/exits?{query}")).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, "bad_parameter"), "{query}: {}", reply.body);
    }
    for query in ["ticker=a&name=b", "issuer=x"] {
        assert_eq!(regtest.get(&format!("/v1/tokens?{query}")).await.code(), "bad_parameter", "{query}");
    }
    assert_eq!(regtest.get(&format!("/v1/tokens/{id}/holders?order=size")).await.code(), "bad_parameter");
}

#[tokio::test]
async fn the_activity_of_an_owner_is_newest_first_and_ends_with_what_he_has() {
    let bob = "02ae5ee884218ae7b6bc9572c9bfda84a3eea3da6a05a6398460965b227e50ac30";
    let activity = rows(&format!("/v1/owners/{bob}/activity"), "activity").await;
    assert!(
        activity.windows(2).all(|pair| pair[0]["block_height"].as_u64() >= pair[1]["block_height"].as_u64())
    );
    assert!(activity.iter().all(|row| row["snapshot"].is_null() != row["exit"].is_null()), "one of the two");
    let spent: Vec<_> = activity.iter().filter(|row| row["exit"]["step"] == "spent").collect();
    let exits = rows(&format!("/v1/owners/{bob}/exits"), "exits").await;
    let revoked = exits.iter().filter(|row| row["state"] == "revoked" || row["state"] == "claimed").count();
    assert_eq!(spent.len(), revoked, "{activity:#?}");
}

/// What the rows of a list say an owner has of a token under an entity, where that is not nothing.
fn balances(rows: Vec<Value>) -> BTreeMap<[String; 3], Value> {
    let id = |row: &Value| ["owner", "token_id", "entity"].map(|name| text(row, name).to_owned());
    let sums = |row: &Value| json!(["available", "exiting", "claimed"].map(|sum| text(row, sum)));
    let rows = rows.into_iter().map(|row| (id(&row), sums(&row)));
    rows.filter(|(_, sums)| *sums != json!(["0", "0", "0"])).collect()
}

/// The balances at a height in a list that names the token or the owner once, for all rows.
async fn balances_at(
    path: &str,
    name: &str,
    height: u32,
    all: (&str, &Value),
) -> BTreeMap<[String; 3], Value> {
    let reply = Regtest::open().get(&format!("{path}?height={height}&limit=1000")).await;
    let mut rows = reply.body[name].as_array().cloned().unwrap_or_default();
    assert!(reply.body["next_cursor"].is_null() || reply.code() == "token_not_found", "{}", reply.body);
    rows.iter_mut().for_each(|row| row[all.0] = all.1.clone());
    balances(rows)
}

#[tokio::test]
async fn differences_between_two_blocks_are_those_between_two_reads() {
    let mut lists = BTreeMap::new();
    for token in rows("/v1/tokens", "tokens").await {
        let id = &token["token_id"];
        let path = format!("/v1/tokens/{}/holders", id.as_str().unwrap());
        for holder in rows(&path, "holders").await {
            let owner = text(&holder, "owner").to_owned();
            let path = format!("/v1/owners/{owner}/balances");
            lists.insert(format!("owner={owner}"), (path, "balances", "owner", Value::from(owner)));
        }
        lists.insert(format!("token={}", id.as_str().unwrap()), (path, "holders", "token_id", id.clone()));
    }
    let mut found = 0;
    for (query, (path, name, field, id)) in &lists {
        for (from, to) in [(111, 330), (111, 150), (150, 240), (239, 240), (240, 330), (330, 330)] {
            let before = balances_at(path, name, from, (field, id)).await;
            let after = balances_at(path, name, to, (field, id)).await;
            let changes = rows(&format!("/v1/diff?from={from}&to={to}&{query}"), "changes").await;
            let sides = |side: &str| {
                let row = |row: &Value| {
                    let mut joined = row[side].clone();
                    (joined["owner"], joined["token_id"]) = (row["owner"].clone(), row["token_id"].clone());
                    joined
                };
                balances(changes.iter().map(row).collect())
            };
            let only = |one: &BTreeMap<_, _>, other: &BTreeMap<_, _>| {
                let mut one = one.clone();
                one.retain(|key, sums| other.get(key) != Some(sums));
                one
            };
            assert_eq!(sides("before"), only(&before, &after), "{query} {from} {to}");
            assert_eq!(sides("after"), only(&after, &before), "{query} {from} {to}");
            found += changes.len();
        }
    }
    assert!(found > 20, "{found}");
}

#[tokio::test]
async fn a_difference_needs_two_blocks_and_one_token_or_owner() {
    let owner = "0356bfba743a7a6e85cabdcf9d7e88d10010ed9a22aa01c78061d8fdcfdf874ce8";
    for (query, code) in [
        (format!("owner={owner}"), "bad_parameter"),
        ("from=111".to_owned(), "bad_parameter"),
        (format!("from=111&owner={owner}&token={}", &owner[2..]), "bad_parameter"),
        (format!("from=120&to=119&owner={owner}"), "bad_parameter"),
        (format!("from=111&height=120&owner={owner}"), "unknown_parameter"),
        (format!("from=x&owner={owner}"), "bad_block"),
        (format!("from={}&owner={owner}", "00".repeat(32)), "block_not_found"),
        (format!("from=111&to=100000&owner={owner}"), "block_not_found"),
    ] {
        let reply = Regtest::open().get(&format!("/v1/diff?{query}")).await;
        assert_eq!(reply.code(), code, "{query}: {}", reply.body);
    }
}

#[tokio::test]
async fn blocks_are_listed_from_the_last_one_down_to_the_first() {
    let blocks = rows("/v1/blocks?height=125", "blocks").await;
    let heights: Vec<_> = blocks.iter().map(|block| block["block_height"].as_u64().unwrap()).collect();
    assert_eq!(heights, (111..=125).rev().collect::<Vec<_>>());
    for block in blocks {
        let one = Regtest::open().get(&format!("/v1/blocks/{}", text(&block, "block_hash"))).await.body;
        assert_eq!((&one["events"], &one["state_hash"]), (&block["events"], &block["state_hash"]));
    }
}

#[tokio::test]
async fn a_ttxo_comes_with_its_exits_and_a_cursor_to_the_rest() {
    let exits = rows("/v1/exits", "exits").await;
    let mut several = 0;
    for exit in exits.iter().filter(|exit| !exit["holding"].is_null()) {
        let ttxo = text(exit, "ttxo");
        let shown = Regtest::open().get(&format!("/v1/ttxos/{ttxo}")).await.body;
        let all = Regtest::open().get(&format!("/v1/exits?ttxo={ttxo}")).await.body;
        assert_eq!((&shown["exits"], &shown["next_exits_cursor"]), (&all["exits"], &Value::Null), "{ttxo}");
        several += usize::from(all["exits"].as_array().unwrap().len() > 1);
    }
    assert!(several > 0);
}
