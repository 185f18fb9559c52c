//! Lines that change: redrawn in place on a terminal, printed when they changed elsewhere.

use std::io::Write;

/// Where progress is shown.
#[derive(Debug)]
pub(super) struct Screen {
    live: bool,
    drawn: usize,
    last: Vec<String>,
}

impl Screen {
    pub(super) fn new(live: bool) -> Self {
        Self { live, drawn: 0, last: Vec::new() }
    }

    /// Prints a line that stays.
    pub(super) fn line(&mut self, text: &str) {
        self.drawn = 0;
        print(&format!("{text}\n"));
    }

    /// Shows `lines` in place of those shown before.
    pub(super) fn show(&mut self, lines: &[String]) {
        if self.live {
            print(&redraw(self.drawn, lines));
            self.drawn = lines.len();
            return;
        }
        // The last line is a running total: it alone is no news.
        let news = |(i, line): &(usize, &String)| *i + 1 < lines.len() && self.last.get(*i) != Some(*line);
        let changed: String = lines.iter().enumerate().filter(news).map(|(_, line)| format!("{line}\n")).collect();
        print(&changed);
        self.last = lines.to_vec();
    }
}

/// Goes up over what was drawn and clears each line before it is drawn anew.
fn redraw(drawn: usize, lines: &[String]) -> String {
    let up = if drawn > 0 { format!("\x1b[{drawn}A") } else { String::new() };
    let body: String = lines.iter().map(|line| format!("\x1b[2K{line}\n")).collect();
    up + &body
}

/// Prints; somebody who closed the pipe does not end the control plane.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::redraw;

    #[test]
    fn lines_are_redrawn_in_place() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(redraw(0, &lines), "\x1b[2Ka\n\x1b[2Kb\n");
        assert_eq!(redraw(2, &lines), "\x1b[2A\x1b[2Ka\n\x1b[2Kb\n");
    }
}
