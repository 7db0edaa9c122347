//! Lists in other orders, and parts of lists: each is what sorting and filtering the whole one gives.

use serde_json::Value;

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
