//! Kinds of faults (reliability part 3).
//!
//! Not among them: F8's silently lost deletion. Only the audit (`evenkeel_watch::Audit`) can find it, and its rounds
//! of ten minutes are longer than a world of workloads lasts; where a server is restored from a backup, which looks alike, it does.

use crate::World;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A kind of fault (reliability part 3).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Whether worlds of this sort have it.
            pub fn strikes(self, world: World) -> bool {
                match world {
                    World::Workloads => !matches!(self, Self::KindGone | Self::Unlistable | Self::Restored),
                    World::Collection => !matches!(
                        self,
                        Self::Denied | Self::LeaderPaused | Self::LeaderMoved | Self::ClockRate | Self::ClocksApart | Self::LeaseTrouble
                            | Self::PodFailed | Self::PodDeleted | Self::Relabelled | Self::Orphaned
                    ),
                }
            }
        }
    };
}

faults! {
    /// F1, F2: a manager dies before its k-th write leaves.
    CrashBefore,
    /// F1, F2: a manager dies after its k-th write is committed, before the answer.
    CrashAfterCommit,
    /// F1, F2: a manager dies after the answer to its k-th write.
    CrashAfterAnswer,
    /// F14: a manager is told to end.
    Terminated,
    /// F3, F7: one kind's events come late.
    WatchLate,
    /// F4: a list is older than what was seen.
    OlderList,
    /// F6: a list asks for a version that the server has not reached.
    TooLargeVersion,
    /// F6: watches are cut.
    WatchCut,
    /// F5, F6: a watch cannot be resumed (410).
    Expired,
    /// F8: an event of the past comes again, so that the revision goes back.
    EventFromThePast,
    /// F9: an event comes twice.
    EventTwice,
    /// F9: a line of a watch is no JSON.
    EventMalformed,
    /// F9: an object has fields that nobody knows.
    EventUnknownFields,
    /// F9: an object of another kind comes in a watch.
    EventWrongKind,
    /// F10: the write is committed, the answer lost.
    AnswerLostCommitted,
    /// F10: the write is lost.
    AnswerLostNotCommitted,
    /// F10: 409.
    Conflict,
    /// F10: 429.
    TooMany,
    /// F10: 500.
    InternalError,
    /// F10: 503.
    Unavailable,
    /// F11: requests and watches of one manager neither get anywhere nor end.
    BlackHole,
    /// F12: creations are denied.
    Denied,
    /// F13: a manager does not get at the Lease.
    LeaseTrouble,
    /// F13: leadership moved.
    LeaderMoved,
    /// F13: a manager stood still for longer than its lease, with writes under way that arrived when it went on.
    LeaderPaused,
    /// F13: a manager's monotonic clock runs at another rate.
    ClockRate,
    /// F13: the managers' wall clocks are minutes apart.
    ClocksApart,
    /// F15: a pod failed.
    PodFailed,
    /// F15: a pod was deleted by somebody else.
    PodDeleted,
    /// F16: a pod's labels were changed.
    Relabelled,
    /// F16: a pod without an owner got the labels of a set again.
    Orphaned,
    /// F18: a definition went, and the kind with it.
    KindGone,
    /// F18: a kind cannot be listed.
    Unlistable,
    /// F8: the server was restored from a backup.
    Restored,
}
