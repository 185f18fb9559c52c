//! Object types that loops read and write.
//!
//! Here live the slim entries that the cache keeps ([`Pod`], [`Node`], [`Namespace`], [`ReplicaSet`], [`ReplicationController`], [`Deployment`]), and the small values
//! that they are made of: [`Meta`], [`OwnerReference`], [`Selector`], [`Condition`], [`IntOrPercent`], [`Template`]. Decoding one object from
//! the bytes a server sent is [`Object::decode`]. What never lives here: IO, clocks, decisions.
//!
//! Start reading at [`Meta`], then [`Pod`] (the smallest entry) and [`Document`] (how a whole object is edited without losing fields that
//! this program does not know).

mod condition;
mod deployment;
mod document;
mod ids;
mod labels;
mod meta;
mod namespace;
mod node;
mod partial;
mod percent;
mod pod;
mod quantity;
mod replicas;
mod resource;
mod selector;
mod template;
mod wire;

pub use condition::{Condition, ConditionStatus, time_text};
pub use deployment::{Deployment, DeploymentStatus, Strategy};
pub use document::Document;
pub use ids::{Key, Name, Uid, Version};
pub use labels::{Labels, Pool};
pub use meta::{FOREGROUND, Meta, ORPHAN, OwnerReference};
pub use namespace::Namespace;
pub use node::Node;
pub use partial::Partial;
pub use percent::{IntOrPercent, PercentError};
pub use pod::{Phase, Pod};
pub use quantity::same_quantity;
pub use replicas::{ReplicaSet, ReplicaSetStatus, Replicated, ReplicationController};
pub use resource::{DEPLOYMENTS, EVENTS, Kind, LEASES, NAMESPACES, NODES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, Resource};
pub use selector::{Operator, Requirement, Selector, SelectorError};
pub use template::{POD_TEMPLATE_HASH, Template};
pub use wire::{DecodeError, Object, Text, Watched};
