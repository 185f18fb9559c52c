//! One use of kubectl or Helm: a few command lines, each with what must be seen.

use futures::future::LocalBoxFuture;
use regex::Regex;

use super::ground::Ground;
use crate::recorded::Broken;
use crate::stories::kubectl::Said;
use crate::stories::wait::eventually;

/// A use that is more than command lines: a loop over all kinds, a server that runs beside it.
pub type Own = for<'a> fn(&'a Ground) -> LocalBoxFuture<'a, Result<(), Broken>>;

/// What a person does, and what must be seen.
pub struct Use {
    /// What it is, in a few words.
    pub title: &'static str,
    /// Why it can be told on the local control plane only; `None`: it can be told anywhere.
    pub local: Option<&'static str>,
    work: Work,
}

enum Work {
    Steps(Vec<Step>),
    Own(Own),
}

/// One call.
#[derive(Debug, Default)]
struct Step {
    line: String,
    input: Option<String>,
    variable: Option<(&'static str, String)>,
    files: Vec<(&'static str, String)>,
    end: End,
    seen: Vec<Seen>,
    soon: bool,
}

/// How a call must end.
#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Well,
    Badly,
    With(i32),
}

/// What a call must print.
#[derive(Debug)]
enum Seen {
    Out(String),
    Exactly(String),
    Not(String),
    Like(&'static str),
    Err(String),
    Lines(usize),
}

/// A use that begins with this command line: of kubectl, or with `helm` as its first word of Helm. Words are split as a shell does it,
/// with single quotes; `{ns}` is the namespace of the group, `{folder}` where its files are. The call must end well unless said otherwise.
pub fn using(title: &'static str, line: impl Into<String>) -> Use {
    Use { title, local: None, work: Work::Steps(vec![Step { line: line.into(), ..Step::default() }]) }
}

/// A use that is a function of its own.
pub fn own(title: &'static str, work: Own) -> Use {
    Use { title, local: None, work: Work::Own(work) }
}

impl Use {
    fn last(&mut self) -> &mut Step {
        match &mut self.work {
            Work::Steps(steps) => steps.last_mut().expect("a use begins with a step"),
            Work::Own(_) => panic!("{}: a function says itself what must be seen", self.title),
        }
    }

    fn sees(mut self, seen: Seen) -> Use {
        self.last().seen.push(seen);
        self
    }

    /// The next call.
    pub fn then(mut self, line: impl Into<String>) -> Use {
        if let Work::Steps(steps) = &mut self.work {
            steps.push(Step { line: line.into(), ..Step::default() });
        }
        self
    }

    /// What the call reads from its standard input.
    pub fn input(mut self, text: impl Into<String>) -> Use {
        self.last().input = Some(text.into());
        self
    }

    /// A file that is written to the folder before the call.
    pub fn file(mut self, name: &'static str, text: impl Into<String>) -> Use {
        self.last().files.push((name, text.into()));
        self
    }

    /// A variable of the call's environment.
    pub fn env(mut self, name: &'static str, value: &str) -> Use {
        self.last().variable = Some((name, value.to_owned()));
        self
    }

    /// The editor that `edit` opens.
    pub fn editor(self, command: &str) -> Use {
        self.env("KUBE_EDITOR", command)
    }

    /// Standard output contains this.
    pub fn says(self, text: impl Into<String>) -> Use {
        self.sees(Seen::Out(text.into()))
    }

    /// Standard output is this, but for space around it.
    pub fn is(self, text: impl Into<String>) -> Use {
        self.sees(Seen::Exactly(text.into()))
    }

    /// Standard output does not contain this.
    pub fn lacks(self, text: impl Into<String>) -> Use {
        self.sees(Seen::Not(text.into()))
    }

    /// Standard output has a place that matches this expression (`^` and `$` are ends of lines).
    pub fn like(self, expression: &'static str) -> Use {
        self.sees(Seen::Like(expression))
    }

    /// Standard output has so many lines.
    pub fn lines(self, count: usize) -> Use {
        self.sees(Seen::Lines(count))
    }

    /// Standard error contains this, though the call may end well.
    pub fn warns(self, text: impl Into<String>) -> Use {
        self.sees(Seen::Err(text.into()))
    }

    /// The call fails, and standard error contains this.
    pub fn refused(mut self, text: impl Into<String>) -> Use {
        self.last().end = End::Badly;
        self.sees(Seen::Err(text.into()))
    }

    /// The call ends with this code.
    pub fn code(mut self, code: i32) -> Use {
        self.last().end = End::With(code);
        self
    }

    /// It may take a while: the call is repeated until it shows what it must.
    pub fn soon(mut self) -> Use {
        self.last().soon = true;
        self
    }

    /// Needs what only the local control plane has.
    pub fn local(mut self, why: &'static str) -> Use {
        self.local = Some(why);
        self
    }

    /// Whether it would pass where every call ends as it must and prints nothing.
    pub fn is_content_with_silence(&self) -> bool {
        match &self.work {
            Work::Steps(steps) => steps.iter().flat_map(|step| &step.seen).all(Seen::is_silence),
            Work::Own(_) => false,
        }
    }

    /// The command lines; none for a function.
    pub fn lines_of(&self) -> impl Iterator<Item = &str> {
        let steps = match &self.work {
            Work::Steps(steps) => steps.as_slice(),
            Work::Own(_) => &[],
        };
        steps.iter().map(|step| step.line.as_str())
    }

    /// Does it.
    ///
    /// # Errors
    /// When something else is seen.
    pub async fn perform(&self, ground: &Ground) -> Result<(), Broken> {
        match &self.work {
            Work::Own(work) => work(ground).await,
            Work::Steps(steps) => {
                for step in steps {
                    step.perform(ground).await?;
                }
                Ok(())
            }
        }
    }
}

impl Step {
    async fn perform(&self, ground: &Ground) -> Result<(), Broken> {
        for (name, text) in &self.files {
            ground.write(name, text)?;
        }
        let call = async || {
            let said =
                ground.say(&self.line, self.input.as_deref(), self.variable.as_ref().map(|(name, value)| (*name, value.as_str()))).await?;
            self.check(&said, ground).map_err(|wrong| Broken(format!("{}: {}", ground.filled(&self.line), wrong.0)))
        };
        if self.soon { eventually(ground.limit, "soon", call).await } else { call().await }
    }

    fn check(&self, said: &Said, ground: &Ground) -> Result<(), Broken> {
        let well = match self.end {
            End::Well => said.ok,
            End::Badly => !said.ok,
            End::With(code) => said.code == code,
        };
        if !well {
            return Err(Broken(format!("ends with {}: {}{}", said.code, said.out.trim(), said.err.trim())));
        }
        self.seen.iter().try_for_each(|seen| seen.check(said, ground))
    }
}

impl Seen {
    /// Whether printing nothing is enough.
    fn is_silence(&self) -> bool {
        match self {
            Seen::Out(text) | Seen::Err(text) => text.is_empty(),
            Seen::Exactly(text) => text.trim().is_empty(),
            Seen::Not(_) => true,
            Seen::Like(expression) => Regex::new(expression).is_ok_and(|regex| regex.is_match("")),
            Seen::Lines(count) => *count == 0,
        }
    }

    fn check(&self, said: &Said, ground: &Ground) -> Result<(), Broken> {
        let expected = |text: &str| ground.expected(text);
        let (holds, wanted) = match self {
            Seen::Out(text) => (said.out.contains(&expected(text)), format!("should contain {:?}", expected(text))),
            Seen::Exactly(text) => (said.out.trim() == expected(text).trim(), format!("should be {:?}", expected(text))),
            Seen::Not(text) => (!ground.spoiled && !said.out.contains(&ground.filled(text)), format!("should not contain {text:?}")),
            Seen::Like(expression) => {
                let regex = Regex::new(&format!("(?m){}", expected(expression))).map_err(|error| Broken(error.to_string()))?;
                (regex.is_match(&said.out), format!("should match {expression:?}"))
            }
            Seen::Err(text) => (said.err.contains(&expected(text)), format!("should complain {:?}", expected(text))),
            Seen::Lines(count) => {
                let lines = said.out.lines().count();
                (lines == count + usize::from(ground.spoiled), format!("should have {count} lines"))
            }
        };
        if holds { Ok(()) } else { Err(Broken(format!("{wanted}, and is {:?} / {:?}", shortened(&said.out), shortened(&said.err)))) }
    }
}

/// The beginning of a long text.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(1500) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
