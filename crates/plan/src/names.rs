//! Names of pods that a loop makes (reliability D-4): derived, so that the same decision taken twice collides instead of doubling.
//!
//! A name is `<base><five letters>`, the letters a keyed hash of the owner's uid and a serial number. The lowest serials that were never
//! seen are used next; a restarted leader finds the serials of living pods again from their names. Which pods exist is never told from
//! serials: they only choose names, so a forgotten serial can at worst use a name again after its pod is gone.

use std::collections::BTreeSet;

use evenkeel_api::Uid;

/// Letters of generated names, as the API server uses them.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Longest base of a generated name (workloads 1.4.11).
const MAX_BASE: usize = 58;

/// Serials searched beyond the number of names to recognise; pods replaced more often than that are simply not recognised.
const SEARCH: u64 = 256;

/// Serials of one owner that have been used, as far as this process has seen. Bounded: everything below `floor` is one number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Serials {
    floor: u64,
    above: BTreeSet<u64>,
}

impl Serials {
    /// Marks a serial as used.
    pub fn mark(&mut self, serial: u64) {
        if serial >= self.floor {
            self.above.insert(serial);
        }
        while self.above.remove(&self.floor) {
            self.floor += 1;
        }
    }

    /// Marks the serials whose names are among `names`: after a restart, or for pods that another leader made.
    pub fn recognise<'n>(&mut self, base: &str, owner: &Uid, names: impl IntoIterator<Item = &'n str>) {
        let mut unknown: BTreeSet<&str> = names.into_iter().collect();
        for serial in (0..self.floor).rev().take(unknown.len() + SEARCH as usize).chain(self.above.iter().copied()) {
            if unknown.is_empty() {
                return;
            }
            unknown.remove(name(base, owner, serial).as_str());
        }
        let end = self.floor + self.above.len() as u64 + unknown.len() as u64 + SEARCH;
        let mut serial = self.floor;
        while serial < end && !unknown.is_empty() {
            if !self.above.contains(&serial) && unknown.remove(name(base, owner, serial).as_str()) {
                self.above.insert(serial);
            }
            serial += 1;
        }
        while self.above.remove(&self.floor) {
            self.floor += 1;
        }
    }

    /// The next `count` unused serials whose names are not `taken`, with their names. Nothing is marked.
    pub fn next(&self, base: &str, owner: &Uid, count: usize, taken: impl Fn(&str) -> bool) -> Vec<(u64, String)> {
        let mut chosen = BTreeSet::new();
        let mut out = Vec::with_capacity(count);
        let mut serial = self.floor;
        while out.len() < count {
            if !self.above.contains(&serial) {
                let name = name(base, owner, serial);
                if !taken(&name) && chosen.insert(name.clone()) {
                    out.push((serial, name));
                }
            }
            serial += 1;
        }
        out
    }
}

/// The name for one serial. `base` is cut so that the whole stays within 63 characters, as generated names are.
pub fn name(base: &str, owner: &Uid, serial: u64) -> String {
    let mut rest = hash(owner.to_string().bytes().chain(serial.to_le_bytes()));
    let mut cut = base.len().min(MAX_BASE);
    while !base.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut name = base[..cut].to_owned();
    for _ in 0..5 {
        name.push(char::from(ALPHABET[(rest % 27) as usize]));
        rest /= 27;
    }
    name
}

/// FNV-1a (64 bits) with a final mix. Written out because leaders of different builds must agree on it.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (sum ^ (sum >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Uid {
        Uid::new("0b8f6f0c-0000-4000-8000-000000000001")
    }

    #[test]
    fn the_same_decision_gives_the_same_names() {
        let s = Serials::default();
        let a = s.next("web-", &owner(), 3, |_| false);
        assert_eq!(a, s.next("web-", &owner(), 3, |_| false));
        assert_eq!(a.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(a.iter().all(|(_, n)| n.len() == 9 && n.starts_with("web-")));
    }

    #[test]
    fn used_serials_are_not_used_again() {
        let mut s = Serials::default();
        for n in [0, 1, 3] {
            s.mark(n);
        }
        assert_eq!(s.next("b-", &owner(), 2, |_| false).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 4]);
        s.mark(2);
        assert_eq!(s, Serials { floor: 4, above: BTreeSet::new() });
    }

    #[test]
    fn a_restarted_leader_finds_serials_from_names() {
        let names: Vec<String> = [0_u64, 2, 5, 200].iter().map(|n| name("web-", &owner(), *n)).collect();
        let mut s = Serials::default();
        s.recognise("web-", &owner(), names.iter().map(String::as_str).chain(["web-other"]));
        assert_eq!(s, Serials { floor: 1, above: [2, 5, 200].into() });
    }

    #[test]
    fn taken_names_are_passed_over() {
        let s = Serials::default();
        let first = name("web-", &owner(), 0);
        assert_eq!(s.next("web-", &owner(), 1, |n| n == first)[0].0, 1);
    }

    #[test]
    fn long_bases_are_cut_as_the_server_cuts_them() {
        assert_eq!(name(&"a".repeat(80), &owner(), 0).len(), 63);
    }

    #[test]
    fn names_are_distinct_within_ten_thousand() {
        let all = Serials::default().next("web-", &owner(), 10_000, |_| false);
        assert_eq!(all.iter().map(|(_, n)| n).collect::<BTreeSet<_>>().len(), 10_000);
    }
}
