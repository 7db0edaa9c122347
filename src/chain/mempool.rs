//! What a node's mempool holds, over connections of its own.

use bitcoin::consensus::encode;
use bitcoin::{OutPoint, Transaction, Txid};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rpc::{Failure, Rpc};
use super::{NodeConfig, SourceError};

/// Transactions asked for in one request. Eight of the largest that a block can hold still fit an answer.
const AT_ONCE: usize = 8;

/// Outputs asked about in one request.
const OUTPUTS_AT_ONCE: usize = 500;

/// The node knows no such transaction.
const RPC_INVALID_ADDRESS_OR_KEY: i32 = -5;

/// The mempool of a node.
pub struct NodeMempool {
    rpc: Rpc,
}

#[derive(Deserialize)]
struct Spender {
    #[serde(rename = "spendingtxid")]
    txid: Option<Txid>,
}

impl NodeMempool {
    /// Prepares to talk to a node; connects at the first question.
    ///
    /// # Errors
    /// Fatal for a URL that can't be one of a node.
    pub fn new(config: NodeConfig) -> Result<Self, SourceError> {
        let rpc = Rpc::new(&config.url, config.auth, config.network)?;
        // Whoever synchronises from it has found out that it is the right one.
        rpc.is_a_node();
        Ok(NodeMempool { rpc })
    }

    /// All transactions, in no particular order.
    pub fn txids(&self) -> Result<Vec<Txid>, SourceError> {
        self.call("getrawmempool", &[])
    }

    /// These transactions; `None` for those that it does not hold any more.
    pub fn transactions(&self, txids: &[Txid]) -> Result<Vec<Option<Transaction>>, SourceError> {
        const METHOD: &str = "getrawtransaction";
        let mut transactions = Vec::with_capacity(txids.len());
        for txids in txids.chunks(AT_ONCE) {
            let calls: Vec<[Value; 1]> = txids.iter().map(|txid| [json!(txid)]).collect();
            let answers =
                self.rpc.batch(METHOD, &calls).map_err(|failure| self.rpc.explain(failure, METHOD))?;
            for (answer, txid) in answers.into_iter().zip(txids) {
                transactions.push(match answer {
                    Ok(response) => Some(self.transaction(*txid, response.result::<String>().ok())?),
                    Err(Failure::Answer(error)) if error.code == RPC_INVALID_ADDRESS_OR_KEY => None,
                    Err(failure) => return Err(self.rpc.explain(failure, METHOD)),
                });
            }
        }
        Ok(transactions)
    }

    /// The transactions that spend any of these outputs.
    pub fn spenders(&self, outputs: &[OutPoint]) -> Result<Vec<Txid>, SourceError> {
        let mut spenders = Vec::new();
        for outputs in outputs.chunks(OUTPUTS_AT_ONCE) {
            let outputs: Vec<Value> =
                outputs.iter().map(|output| json!({"txid": output.txid, "vout": output.vout})).collect();
            let answer: Vec<Spender> = self.call("gettxspendingprevout", &[outputs.into()])?;
            spenders.extend(answer.into_iter().filter_map(|spender| spender.txid));
        }
        Ok(spenders)
    }

    fn call<T: for<'a> Deserialize<'a>>(&self, method: &str, params: &[Value]) -> Result<T, SourceError> {
        self.rpc.call(method, params).map_err(|failure| self.rpc.explain(failure, method))
    }

    fn transaction(&self, txid: Txid, hex: Option<String>) -> Result<Transaction, SourceError> {
        let tx = hex.and_then(|hex| encode::deserialize_hex::<Transaction>(&hex).ok());
        tx.filter(|tx| tx.compute_txid() == txid).ok_or_else(|| {
            SourceError::Retry(format!(
                "the node at {} sent something else than transaction {txid}",
                self.rpc.url()
            ))
        })
    }
}
