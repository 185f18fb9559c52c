//! IP addresses and networks as the reference reads them (`ParseIPSloppy` and the rules of legacy fields).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::errors::Errors;
use crate::go_value::quote;

/// Reads an address; zeros in front of the parts of an IPv4 address are let through, and an IPv4 address in IPv6 form is one.
pub(crate) fn parse_ip(s: &str) -> Option<IpAddr> {
    if s.contains(':') {
        let v6: Ipv6Addr = s.parse().ok()?;
        return Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4));
    }
    let parts: Vec<&str> = s.split('.').collect();
    let [a, b, c, d] = parts[..] else { return None };
    let part = |p: &str| (!p.is_empty() && p.bytes().all(|c| c.is_ascii_digit())).then(|| p.parse::<u8>().ok()).flatten();
    Some(IpAddr::V4(Ipv4Addr::new(part(a)?, part(b)?, part(c)?, part(d)?)))
}

/// Reads a network: its address as written and the length of its prefix.
pub(crate) fn parse_cidr(s: &str) -> Option<(IpAddr, u32)> {
    let (ip, bits) = s.split_once('/')?;
    let most = if ip.contains(':') { 128 } else { 32 };
    let ok = !bits.is_empty() && bits.bytes().all(|c| c.is_ascii_digit());
    let n: u32 = if ok { bits.parse().ok()? } else { return None };
    (n <= most).then_some((parse_ip(ip)?, n))
}

/// The first address of a network.
pub(crate) fn network(ip: IpAddr, bits: u32) -> IpAddr {
    match ip {
        IpAddr::V4(a) => IpAddr::V4((u32::from(a) & u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0)).into()),
        IpAddr::V6(a) => IpAddr::V6((u128::from(a) & u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0)).into()),
    }
}

/// Whether a network holds an address.
pub(crate) fn contains((ip, bits): (IpAddr, u32), other: IpAddr) -> bool {
    ip.is_ipv4() == other.is_ipv4() && network(other, bits) == network(ip, bits)
}

/// An address of an old field; those in `known` are let through as they are. Whether nothing was wrong.
pub(crate) fn ip(path: &str, s: &str, known: &[&str], e: &mut Errors) -> bool {
    if known.contains(&s) {
        return true;
    }
    let was = e.len();
    if parse_ip(s).is_none() {
        e.invalid_text(path, s, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    } else if STRICT {
        match s.parse::<IpAddr>() {
            Err(_) => e.invalid_text(path, s, "must not have leading 0s"),
            Ok(IpAddr::V6(a)) if a.to_ipv4_mapped().is_some() => {
                e.invalid_text(path, s, "must not be an IPv4-mapped IPv6 address");
            }
            Ok(_) => {}
        }
    }
    e.len() == was
}

/// Old fields take no unusual forms any more (feature `StrictIPCIDRValidation`, on since 1.36).
const STRICT: bool = true;

/// A network of an old field; those in `known` are let through as they are.
pub(crate) fn cidr(path: &str, s: &str, known: &[&str], e: &mut Errors) {
    if known.contains(&s) {
        return;
    }
    let Some((ip, bits)) = parse_cidr(s) else {
        e.invalid_text(path, s, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return;
    };
    if !STRICT {
        return;
    }
    let (text, length) = s.split_once('/').unwrap_or((s, ""));
    match text.parse::<IpAddr>() {
        Ok(_) if length.len() > 1 && length.starts_with('0') => e.invalid_text(path, s, "must not have leading 0s in IP or prefix length"),
        Err(_) => e.invalid_text(path, s, "must not have leading 0s in IP or prefix length"),
        Ok(IpAddr::V6(a)) if a.to_ipv4_mapped().is_some() => e.invalid_text(path, s, "must not have an IPv4-mapped IPv6 address"),
        Ok(_) if network(ip, bits) != ip => e.invalid_text(path, s, "must not have bits set beyond the prefix length"),
        Ok(_) => {}
    }
}

/// An address of an interface with the length of its network's prefix, in the one form that is normal.
pub(crate) fn interface(path: &str, s: &str, e: &mut Errors) {
    let Some((ip, bits)) = parse_cidr(s) else {
        return e.invalid_text(path, s, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)");
    };
    // The prefix of an IPv4 address in IPv6 form counts the 96 bits in front of it.
    let bits = if ip.is_ipv4() && bits > 32 { i64::from(bits) - 96 } else { i64::from(bits) };
    let normal = format!("{ip}/{bits}");
    if s != normal {
        e.invalid_text(path, s, &format!("must be in canonical form ({})", quote(&normal)));
    }
}

/// An address that traffic can be sent to.
pub(crate) fn endpoint(path: &str, s: &str, e: &mut Errors) {
    let Some(ip) = parse_ip(s) else {
        e.invalid_text(path, s, "must be a valid IP address");
        return;
    };
    if ip.is_unspecified() {
        e.invalid_text(path, s, &format!("may not be unspecified ({s})"));
    }
    if ip.is_loopback() {
        e.invalid_text(path, s, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link, multicast) = match ip {
        IpAddr::V4(a) => (a.is_link_local(), a.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(a) => (a.segments()[0] & 0xffc0 == 0xfe80, a.segments()[0] & 0xff0f == 0xff02),
    };
    if link {
        e.invalid_text(path, s, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        e.invalid_text(path, s, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// Whether the addresses are one of each family.
pub(crate) fn is_dual(list: &[&str]) -> bool {
    let v4 = |v4: bool| list.iter().any(|s| parse_ip(s).is_some_and(|ip| ip.is_ipv4() == v4));
    v4(true) && v4(false)
}

/// What is unusual about an address.
pub(crate) fn ip_warning(path: &str, s: &str) -> Option<String> {
    let ip = parse_ip(s)?;
    match s.parse::<IpAddr>() {
        Err(_) => Some(format!("{path}: non-standard IP address {} is invalid: use {}", quote(s), quote(&ip.to_string()))),
        Ok(IpAddr::V6(a)) if a.to_ipv4_mapped().is_some() => {
            Some(format!("{path}: non-standard IP address {} is invalid: use {}", quote(s), quote(&ip.to_string())))
        }
        Ok(a) if a.is_ipv6() && a.to_string() != s => {
            Some(format!("{path}: IPv6 address {} should be in RFC 5952 canonical format ({})", quote(s), quote(&a.to_string())))
        }
        Ok(_) => None,
    }
}

/// What is unusual about a network.
pub(crate) fn cidr_warnings(path: &str, s: &str) -> Vec<String> {
    let Some((ip, bits)) = parse_cidr(s) else { return Vec::new() };
    let net = format!("{}/{bits}", network(ip, bits));
    let mut out = Vec::new();
    if network(ip, bits) != ip {
        let one = format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
        out.push(format!("{path}: CIDR value {} is ambiguous in this context (should be {} or {}?)", quote(s), quote(&net), quote(&one)));
    }
    let (text, length) = s.split_once('/').unwrap_or((s, ""));
    let standard = text.parse::<IpAddr>().is_ok_and(|a| !matches!(a, IpAddr::V6(a) if a.to_ipv4_mapped().is_some()))
        && !(length.len() > 1 && length.starts_with('0'));
    if !standard {
        out.push(format!("{path}: non-standard CIDR value {} is invalid: use {}", quote(s), quote(&net)));
    }
    let canonical = format!("{ip}/{bits}");
    if out.is_empty() && ip.is_ipv6() && canonical != s {
        out.push(format!("{path}: IPv6 CIDR value {} should be in RFC 5952 canonical format ({})", quote(s), quote(&canonical)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(check: impl Fn(&mut Errors)) -> Vec<String> {
        let mut e = Errors::default();
        check(&mut e);
        e.causes.into_iter().map(|c| c.message).collect()
    }

    #[test]
    fn unusual_forms_are_read_and_refused() {
        assert_eq!(parse_ip("010.0.0.1"), Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))));
        for (s, want) in [
            ("10.0.0.1", ""),
            ("010.0.0.1", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            ("10.0.0", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ] {
            let got = causes(|e| {
                ip("a", s, &[], e);
            });
            assert!(got.len() == usize::from(!want.is_empty()) && got.iter().all(|m| m.ends_with(want)), "{s}: {got:?}");
        }
    }

    #[test]
    fn networks_have_no_bits_beyond_their_prefix() {
        for (s, want) in [
            ("10.0.0.0/8", ""),
            ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
            ("300.0.0.0/8", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
            ("10.0.0.0/33", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            ("::/0", ""),
        ] {
            let got = causes(|e| cidr("a", s, &[], e));
            assert!(got.len() == usize::from(!want.is_empty()) && got.iter().all(|m| m.ends_with(want)), "{s}: {got:?}");
        }
    }
}
