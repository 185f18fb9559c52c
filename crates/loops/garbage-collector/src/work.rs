//! Keys of the collector: an object of any kind.

use evenkeel_api::{Key, Kind};
use evenkeel_cache::Stores;

/// The key under which an object is worked on. No object's name has a slash.
pub fn key_of(kind: Kind, object: &Key) -> Key {
    Key::new(object.namespace.clone(), format!("{kind}/{}", object.name))
}

/// The watched kind and the object that a key is about; `None`: its kind is watched no more.
pub fn object_of(stores: &Stores, key: &Key) -> Option<(Kind, Key)> {
    let (resource, name) = key.name.split_once('/')?;
    Some((stores.called(resource)?, Key::new(key.namespace.clone(), name)))
}
