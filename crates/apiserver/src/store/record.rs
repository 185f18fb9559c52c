//! One version of an object as the data file holds it: which resource, which key, whether it is the last state of what was deleted, and
//! the document. Everything else (labels, selectable fields) follows from the document and is made anew when the file is read.

use bytes::Bytes;

/// A version that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Store key of the resource.
    pub(super) log: String,
    /// Namespace and name.
    pub(super) key: String,
    /// Whether the object was gone with this revision.
    pub(super) deleted: bool,
    /// The encoded document.
    pub(super) bytes: Bytes,
}

/// Writes a version into `out`, which is emptied first: `deleted` (1 byte), then resource and key, each with its length (2 bytes, little
/// endian) in front, then the document.
pub(super) fn encode(out: &mut Vec<u8>, log: &str, key: &str, deleted: bool, bytes: &[u8]) {
    out.clear();
    out.push(u8::from(deleted));
    for text in [log, key] {
        // Names of resources and objects are bounded by validation, far below this.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
    }
    out.extend_from_slice(bytes);
}

/// Reads a version; `None` when the bytes are no such thing.
pub(super) fn decode(mut rest: &[u8]) -> Option<Record> {
    let deleted = match rest.split_off_first()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut text = || {
        let length = u16::from_le_bytes(rest.split_off(..2)?.try_into().ok()?);
        std::str::from_utf8(rest.split_off(..usize::from(length))?).ok().map(str::to_owned)
    };
    let (log, key) = (text()?, text()?);
    Some(Record { log, key, deleted, bytes: Bytes::copy_from_slice(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_were_written() {
        for (log, key, deleted, bytes) in
            [("/pods", "default/web-1", false, &b"{\"kind\":\"Pod\"}"[..]), ("apps/deployments", "a/b", true, b"{}"), ("", "", false, b"")]
        {
            let mut out = vec![7; 9];
            encode(&mut out, log, key, deleted, bytes);
            let want = Record { log: log.into(), key: key.into(), deleted, bytes: Bytes::copy_from_slice(bytes) };
            assert_eq!(decode(&out), Some(want));
        }
    }

    #[test]
    fn what_is_cut_short_is_no_version() {
        let mut out = Vec::new();
        encode(&mut out, "/pods", "default/web", true, b"{}");
        let head = out.len() - 2;
        assert!((0..head).all(|n| decode(&out[..n]).is_none()));
        out[0] = 9;
        assert_eq!(decode(&out), None);
    }
}
