//! Differences between two versions of a page.
//!
//! ```text
//! difference   number of runs; for each: bytes that are equal before it, bytes that changed, those bytes
//! ```
//! Pages are compared eight bytes at a time, and runs that are close are joined: a run costs two numbers, which
//! would be more than the equal bytes between. Encoding takes some microseconds for a page of 4,096 bytes; a page
//! that changed everywhere takes a few bytes more than itself.

use super::varint;

/// Bytes that are compared at once; a difference begins and ends at a multiple of it.
const UNIT: usize = 8;
/// Equal units between two differences below which they are written as one.
const GAP: usize = 2;

/// Appends to `out` what turns `old` into `new`, two pages of the same length: runs of changed bytes, each with the number of bytes
/// that are equal before it.
pub(crate) fn encode(old: &[u8], new: &[u8], out: &mut Vec<u8>) {
    debug_assert_eq!(old.len(), new.len(), "both are pages of one database");
    let mut runs = Vec::new();
    let units = old.chunks(UNIT).zip(new.chunks(UNIT)).map(|(old, new)| old != new);
    for (number, _) in units.enumerate().filter(|(_, differs)| *differs) {
        match runs.last_mut() {
            Some((_, end)) if number - *end <= GAP => *end = number + 1,
            _ => runs.push((number, number + 1)),
        }
    }
    varint::put(runs.len() as u64, out);
    let mut at = 0;
    for (start, end) in runs {
        let start = start * UNIT;
        let end = (end * UNIT).min(new.len());
        varint::put((start - at) as u64, out);
        varint::put((end - start) as u64, out);
        out.extend_from_slice(&new[start..end]);
        at = end;
    }
}

/// Applies to `page` what [`encode`] has written; `None` if it does not fit. `input` is left behind it.
pub(crate) fn apply(page: &mut [u8], input: &mut &[u8]) -> Option<()> {
    let runs = varint::take(input)?;
    let mut at = 0_usize;
    for _ in 0..runs {
        let start = at.checked_add(usize::try_from(varint::take(input)?).ok()?)?;
        let end = start.checked_add(usize::try_from(varint::take(input)?).ok()?)?;
        let (bytes, rest) = input.split_at_checked(end - start)?;
        page.get_mut(start..end)?.copy_from_slice(bytes);
        *input = rest;
        at = end;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small random numbers: the same seed, the same numbers.
    fn random(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap()
    }

    #[test]
    fn a_difference_turns_the_old_page_into_the_new_one() {
        let mut state = 7;
        for round in 0..2000 {
            let length = [512, 1024, 4096, 65_536][round % 4];
            let old: Vec<u8> = (0..length).map(|_| u8::try_from(random(&mut state) % 3).unwrap()).collect();
            let mut new = old.clone();
            for _ in 0..random(&mut state) % 6 {
                let start = random(&mut state) % length;
                let end = (start + random(&mut state) % 60).min(length);
                new[start..end].fill(u8::try_from(random(&mut state) % 256).unwrap());
            }
            let mut bytes = Vec::new();
            encode(&old, &new, &mut bytes);
            bytes.push(0x77);
            let mut page = old.clone();
            let mut input = &bytes[..];
            apply(&mut page, &mut input).unwrap();
            assert!(page == new && input == [0x77], "round {round}");
            for cut in 0..(bytes.len() - 1).min(40) {
                assert!(apply(&mut old.clone(), &mut &bytes[..cut]).is_none(), "{cut}");
            }
        }
    }

    #[test]
    fn a_small_change_is_a_small_difference() {
        let old = vec![5; 4096];
        let mut new = old.clone();
        new[100] = 1;
        new[4000..4010].fill(2);
        let mut bytes = Vec::new();
        encode(&old, &new, &mut bytes);
        assert!(bytes.len() < 40, "{}", bytes.len());
    }

    #[test]
    fn a_difference_beyond_the_page_is_refused() {
        let mut bytes = Vec::new();
        encode(&[0; 1024], &[1; 1024], &mut bytes);
        assert_eq!(apply(&mut [0; 512], &mut &bytes[..]), None);
    }
}
