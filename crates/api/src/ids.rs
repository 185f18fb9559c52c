use std::{fmt, sync::Arc};

/// A name, namespace or other short text that many entries share.
pub type Name = Arc<str>;

/// `namespace/name`: what a loop's work is keyed by. Cluster-scoped objects have an empty namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: Name,
    /// Name of the object.
    pub name: Name,
}

impl Key {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The one key of a loop whose passes are about everything there is. No object has it: names are never empty.
    pub fn everything() -> Self {
        Self::new("", "")
    }

    /// Whether it is [`Key::everything`].
    pub fn is_everything(&self) -> bool {
        self.name.is_empty() && self.namespace.is_empty()
    }

    /// All that is in a namespace.
    pub fn of_namespace(namespace: impl Into<Name>) -> Self {
        Self::new(namespace, "")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            f.write_str("everything")
        } else if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `metadata.uid`. The UUIDs that servers give out take 16 bytes; any other text is kept as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Uuid([u8; 16]),
    Text(Arc<str>),
}

impl Uid {
    /// Reads a uid; every text is one.
    pub fn new(text: &str) -> Self {
        Self(match parse_uuid(text) {
            Some(bytes) => Repr::Uuid(bytes),
            None => Repr::Text(text.into()),
        })
    }

    /// Whether the uid is the empty text (an object that no server has stored yet).
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Repr::Text(t) if t.is_empty())
    }
}

/// Only the lower-case 8-4-4-4-12 form, so that printing gives back the same text.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let raw = text.as_bytes();
    if raw.len() != 36 {
        return None;
    }
    let mut out = [0; 16];
    let mut nibble = 0;
    for (at, &c) in raw.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if c != b'-' {
                return None;
            }
            continue;
        }
        let digit = match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => return None,
        };
        out[nibble / 2] |= if nibble % 2 == 0 { digit << 4 } else { digit };
        nibble += 1;
    }
    Some(out)
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Text(text) => f.write_str(text),
            Repr::Uuid(bytes) => {
                let mut text = [b'-'; 36];
                // Where the digits go: everywhere but at the hyphens.
                let places = (0..36).filter(|at| !matches!(at, 8 | 13 | 18 | 23));
                let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                for (at, digit) in places.zip(digits) {
                    text[at] = b"0123456789abcdef"[usize::from(digit)];
                }
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `metadata.resourceVersion` as the number that it is since resource versions are comparable (KEP-5504). Zero: none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    /// Reads a canonical decimal; anything else (empty, signs, leading zeros, too long) is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_print_as_they_were_read() {
        for text in [
            "7f4c0f5e-0b1c-4f0a-9d2e-00ff10ab23cd",
            "7F4C0F5E-0b1c-4f0a-9d2e-00ff10ab23cd",
            "",
            "x",
            "7f4c0f5e+0b1c-4f0a-9d2e-00ff10ab23cd",
        ] {
            assert_eq!(Uid::new(text).to_string(), text);
        }
        assert_eq!(size_of::<Uid>(), 24);
    }

    #[test]
    fn versions_are_canonical_decimals() {
        assert_eq!(Version::parse("42"), Some(Version(42)));
        for bad in ["", "0", "042", "-1", "+1", "x", "99999999999999999999999"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }
}
