//! Chance that is no chance: numbers and names that come from a seed.

/// Mixes a number so that neighbours have nothing in common (splitmix64's finaliser).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Name of a namespace that no word of a recorded file contains.
pub fn namespace_name(seed: u64, number: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bits = mix(seed ^ mix(number));
    let mut name = "b-".to_owned();
    for _ in 0..10 {
        name.push(LETTERS[(bits % LETTERS.len() as u64) as usize] as char);
        bits /= LETTERS.len() as u64;
    }
    name
}
