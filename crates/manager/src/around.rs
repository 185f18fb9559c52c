use evenkeel_election::Clock;
use evenkeel_plan::ControlLoop;

/// What a simulation puts around a manager; the product runs [`AsIs`].
pub trait Around: Send + Sync + 'static {
    /// The loop with whatever goes around it: somebody who notes what each pass looked at.
    fn around<L: ControlLoop>(&self, control_loop: L) -> impl ControlLoop;

    /// The monotonic clock that leadership is judged by.
    fn steady(&self) -> Clock {
        Clock::steady()
    }
}

/// Nothing goes around: loops and clock as they are.
#[derive(Debug, Clone, Copy)]
pub struct AsIs;

impl Around for AsIs {
    fn around<L: ControlLoop>(&self, control_loop: L) -> impl ControlLoop {
        control_loop
    }
}
