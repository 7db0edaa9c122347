//! The curve: one context for all its arithmetic, and the check that many keys are points.

use std::sync::LazyLock;

use bitcoin::secp256k1::{All, Secp256k1};
use rayon::prelude::*;

use super::PubKey;

/// The context for signing, verifying and tweaking. It holds no secret.
pub static SECP: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// The index of the first item whose key is no point of the curve.
///
/// The square root that each check takes (microseconds) is most of the work of decoding a chunk, so
/// they are taken in parallel. The answer does not depend on how many threads there are.
pub(super) fn first_off_curve<T: Sync>(items: &[T], key: impl Fn(&T) -> &PubKey + Sync) -> Option<usize> {
    items.par_iter().with_min_len(256).position_first(|item| !key(item).is_on_curve())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_is_found() {
        let mut keys = vec![PubKey::BURN; 2_000];
        assert_eq!(first_off_curve(&keys, |key| key), None);
        for index in [1_999, 700, 300] {
            keys[index] = PubKey([0; 33]);
            assert_eq!(first_off_curve(&keys, |key| key), Some(index));
        }
        assert_eq!(first_off_curve(&[], |key: &PubKey| key), None);
    }
}
