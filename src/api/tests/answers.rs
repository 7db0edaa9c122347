//! Every path against what the vectors say about the state after their chain.

use bitcoin::hashes::Hash;
use serde_json::{Value, json};

use super::{BLOCKS, Fixture, owner_address, token_address};
use crate::ledger::Overlay;
use crate::ledger::records::Notice;
use crate::ledger::tables::Notices;
use crate::protocol::{Height, PubKey};

#[tokio::test]
async fn balances_are_those_of_the_vectors() {
    let fixture = Fixture::new(BLOCKS);
    let expected = fixture.list("balances");
    for row in &expected {
        let (owner, token) = (row["owner"].as_str().unwrap(), row["token"].as_str().unwrap());
        let mut seen = Vec::new();
        for owner in [owner.to_owned(), owner_address(owner)] {
            for token in [token.to_owned(), token_address(token)] {
                let body = fixture.ok(&format!("/v1/owners/{owner}/balances?token={token}")).await;
                seen.push(body["balances"][0].clone());
            }
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "every form of a name means the same");
        for sum in ["available", "exiting", "claimed"] {
            assert_eq!(seen[0][sum], row[sum]);
        }
        assert_eq!(seen[0]["token_address"], token_address(token));
        assert_eq!(seen[0]["entity_name"], "alpha");
        assert_eq!(seen[0]["snapshot_sequence"], 2);
    }
    let owner = expected[1]["owner"].as_str().unwrap();
    let rows = fixture.pages(&format!("/v1/owners/{owner}/balances"), "balances", 1).await;
    let tokens: Vec<_> = rows.iter().map(|row| row["token_id"].clone()).collect();
    assert_eq!(tokens, [expected[1]["token"].clone(), expected[2]["token"].clone()]);
}

#[tokio::test]
async fn nothing_held_is_an_answer() {
    let fixture = Fixture::new(BLOCKS);
    let token = fixture.list("supply")[0]["token"].as_str().unwrap().to_owned();
    let body = fixture.ok(&format!("/v1/owners/{}/balances?token={token}", PubKey::BURN)).await;
    assert_eq!(body["balances"][0]["available"], "0");
    assert_eq!(body["is_burn"], true);
    let body = fixture.ok(&format!("/v1/owners/{}/balances", PubKey::BURN)).await;
    assert_eq!((&body["balances"], &body["next_cursor"]), (&json!([]), &Value::Null));
    let body = fixture.ok(&format!("/v1/owners/{}/ttxos", PubKey::BURN)).await;
    assert_eq!(body["ttxos"], json!([]));
}

#[tokio::test]
async fn tokens_and_their_supply_are_those_of_the_vectors() {
    let fixture = Fixture::new(BLOCKS);
    let all = fixture.pages("/v1/tokens", "tokens", 1).await;
    assert!(all.windows(2).all(|pair| pair[0]["token_id"].as_str() < pair[1]["token_id"].as_str()));
    for row in fixture.list("supply") {
        let id = row["token"].as_str().unwrap();
        let mut body = fixture.ok(&format!("/v1/tokens/{}", token_address(id))).await;
        assert_eq!(body["token_id"], id);
        assert_eq!(body["supply"][0]["declared"], row["declared"]);
        assert_eq!(body["over_max_supply"], row["over_max_supply"]);
        body.as_object_mut().unwrap().remove("as_of");
        assert!(all.contains(&body), "the list has the same row");
    }
    let announced = all.iter().find(|row| row["metadata"]["layer"] == "l1").unwrap();
    assert_eq!(announced["announcement"]["block_height"], 111);
    assert_eq!(announced["announcement"]["vout"], 0);
    assert_eq!(announced["announcement"]["token_id"], announced["token_id"]);
    assert_eq!(announced["announcement"]["token_address"], announced["token_address"]);
    assert_eq!(announced["ticker"], announced["metadata"]["ticker"]);
}

#[tokio::test]
async fn holders_are_the_owners_with_a_balance() {
    let fixture = Fixture::new(BLOCKS);
    let token = fixture.list("supply")[0]["token"].as_str().unwrap().to_owned();
    let holders = fixture.pages(&format!("/v1/tokens/{token}/holders"), "holders", 1).await;
    let expected: Vec<_> =
        fixture.list("balances").into_iter().filter(|row| row["token"] == *token).collect();
    let sums = |rows: &[Value]| -> Vec<_> {
        rows.iter()
            .map(|row| ["owner", "available", "exiting", "claimed"].map(|name| row[name].clone()))
            .collect()
    };
    assert_eq!(sums(&holders), sums(&expected));
    assert_eq!(holders[0]["owner_address"], owner_address(holders[0]["owner"].as_str().unwrap()));
}

#[tokio::test]
async fn exits_are_those_of_the_vectors() {
    let fixture = Fixture::new(BLOCKS);
    let expected = fixture.list("exits");
    for limit in [1, 2, 100] {
        let exits = fixture.pages("/v1/exits", "exits", limit).await;
        let ids = |rows: &[Value], name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&exits, "exit_id"), ids(&expected, "id"), "in chain order, {limit} to a page");
        for (exit, row) in exits.iter().zip(&expected) {
            let state = match exit["reason"].as_str() {
                Some(reason) => format!("{}:{reason}", exit["state"].as_str().unwrap()),
                None => exit["state"].as_str().unwrap().to_owned(),
            };
            assert_eq!(state, row["state"]);
            assert_eq!(exit["block_height"], row["height"]);
            assert_eq!(exit["owner_signature"], row["owner_signature"]);
            assert_eq!(exit["reinstated_by"].is_number(), row["reinstated"] == true);
            let spend = &exit["spent_by"];
            let spent_by = spend["txid"].as_str().map(|txid| format!("{txid}:{}", spend["vin"]));
            assert_eq!(json!(spent_by), row["spent_by"]);
        }
    }
}

#[tokio::test]
async fn an_exit_is_found_by_its_output_and_by_its_ttxo() {
    let fixture = Fixture::new(BLOCKS);
    for row in fixture.list("exits") {
        let (output, ttxo) = (row["outpoint"].as_str().unwrap(), row["ttxo"].as_str().unwrap());
        let found = fixture.pages(&format!("/v1/exits/{output}"), "exits", 1).await;
        assert_eq!(found.iter().map(|exit| &exit["exit_id"]).collect::<Vec<_>>(), [&row["id"]]);
        let found = fixture.pages(&format!("/v1/exits?ttxo={ttxo}"), "exits", 1).await;
        let expected: Vec<_> =
            fixture.list("exits").into_iter().filter(|exit| exit["ttxo"] == *ttxo).collect();
        assert_eq!(
            found.iter().map(|exit| &exit["exit_id"]).collect::<Vec<_>>(),
            expected.iter().map(|exit| &exit["id"]).collect::<Vec<_>>(),
        );
    }
}

#[tokio::test]
async fn a_ttxo_says_where_it_stands() {
    let fixture = Fixture::new(BLOCKS);
    let cases = [
        ("exited", "6adc63ed924d75074e1c6a99575ce63490f90bf4ccfec25f3dc9824f934e2882:0", "pending"),
        ("exited", "34b3e94ada6b0116cc2175c797ae745327ec8aefdf4b689a7c2ff76002e7ed9f:0", "claimed"),
        ("live", "978ec8e4de2261f9888fc0bfa00e6eb474b26b944e3f69ad72aecb0b11a4750c:0", "none"),
        ("tombstone", "fc1f0e9130abc0cac34beef60cf656eec71c046801b0326ac603459d6de45ce7:0", "none"),
    ];
    for (state, outpoint, exit) in cases {
        let body = fixture.ok(&format!("/v1/ttxos/{outpoint}")).await;
        let row = &body["ttxos"][0];
        assert_eq!((row["state"].as_str(), row["ttxo"].as_str()), (Some(state), Some(outpoint)));
        assert_eq!(row["exit"]["state"].as_str().unwrap_or("none"), exit);
        assert_eq!(row["declared"], state != "tombstone");
        let owner = row["owner"].as_str().unwrap();
        let owned = fixture.pages(&format!("/v1/owners/{owner}/ttxos"), "ttxos", 2).await;
        assert!(owned.contains(row), "its owner's list has the same row");
    }
    let dropped = fixture.ok(&format!("/v1/ttxos/{}", cases[3].1)).await;
    let changes: Vec<_> = dropped["ttxos"][0]["history"].as_array().unwrap().clone();
    assert_eq!(changes[0]["change"], "declared");
    assert_eq!(changes[1], json!({"change": "dropped", "snapshot_sequence": 2, "block_height": 116}));
}

#[tokio::test]
async fn snapshots_are_those_of_the_vectors() {
    let fixture = Fixture::new(BLOCKS);
    let expected = fixture.list("snapshots");
    let entity = fixture.chain["config"]["entities"][0]["keys"][0]["key"].as_str().unwrap().to_owned();
    for path in [
        "/v1/snapshots".to_owned(),
        "/v1/snapshots?entity=alpha".into(),
        format!("/v1/snapshots?entity={entity}"),
    ] {
        let snapshots = fixture.pages(&path, "snapshots", 3).await;
        assert_eq!(snapshots.len(), expected.len());
        for (snapshot, row) in snapshots.iter().zip(&expected) {
            let names = [
                ("manifest_id", "id"),
                ("sequence", "sequence"),
                ("kind", "kind"),
                ("inscription_id", "inscription"),
                ("block_height", "height"),
                ("state", "status"),
                ("reason", "reason"),
                ("count", "count"),
                ("root", "root"),
                ("chunks", "chunks"),
                ("resurrected", "resurrected"),
            ];
            for (ours, theirs) in names {
                assert_eq!(snapshot[ours], row[theirs], "{ours}");
            }
        }
    }
    let body = fixture.ok("/v1/snapshots/2").await;
    assert_eq!(body["snapshots"][0]["parent"], expected[0]["id"], "the delta builds on the first");
    assert_eq!(body["snapshots"][1]["parent"], Value::Null);
    let second = fixture.pages("/v1/snapshots/2", "snapshots", 1).await;
    assert_eq!(
        second.iter().map(|row| &row["manifest_id"]).collect::<Vec<_>>(),
        [&expected[1]["id"], &expected[2]["id"]]
    );
}

#[tokio::test]
async fn a_pending_snapshot_counts_its_chunks() {
    // After block 115: two manifests under sequence 2 wait for one chunk each.
    let fixture = Fixture::new(5);
    let body = fixture.ok("/v1/snapshots/2").await;
    for row in body["snapshots"].as_array().unwrap() {
        assert_eq!(
            (&row["state"], &row["chunks"], &row["chunks_seen"]),
            (&json!("pending"), &json!(1), &json!(0))
        );
    }
    assert_eq!(body["as_of"]["snapshots"][0]["sequence"], 1);
}

#[tokio::test]
async fn notices_come_newest_first_whatever_their_place_in_the_ring() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.ok("/v1/notices").await["notices"], json!([]));
    let store = fixture.app.store();
    let mut state = Overlay::new(store.view());
    for (slot, number) in [(0, 1000), (1, 1001), (998, 998), (999, 999)] {
        let notice = Notice {
            number,
            height: Height(111),
            txid: bitcoin::Txid::from_byte_array([3; 32]),
            vout: 4,
            reason: format!("number {number}"),
        };
        state.put::<Notices>(slot, notice).unwrap();
    }
    store.commit(&[(Height(112), state.into_changes())]).unwrap();
    let notices = fixture.ok("/v1/notices?limit=3").await["notices"].take();
    let reasons: Vec<_> = notices.as_array().unwrap().iter().map(|row| row["reason"].clone()).collect();
    assert_eq!(reasons, ["number 1001", "number 1000", "number 999"]);
    assert_eq!((&notices[0]["block_height"], &notices[0]["vout"]), (&json!(111), &json!(4)));
    assert_eq!(fixture.get("/v1/notices?cursor=00").await.code(), "unknown_parameter");
}

#[tokio::test]
async fn blocks_show_their_events() {
    let fixture = Fixture::new(BLOCKS);
    for expected in fixture.chain["expected"].as_array().unwrap() {
        let by_height = fixture.ok(&format!("/v1/blocks/{}", expected["height"])).await;
        let by_hash = fixture.ok(&format!("/v1/blocks/{}", expected["block_hash"].as_str().unwrap())).await;
        assert_eq!(by_height, by_hash);
        assert_eq!(by_height["block_height"], expected["height"]);
        assert_eq!(by_height["state_hash"], expected["state_hash"]);
        assert_eq!(by_height["events"], expected["events"]);
    }
}
