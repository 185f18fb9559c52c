//! Two values side by side as a unified diff, as the reference prints them (apimachinery `diff.Diff`, go-difflib). Which lines are taken
//! for equal follows the same rules: the longest run first, lines that occur very often not considered.

use std::collections::HashMap;

use serde_json::Value;

use crate::go_value::json_lines;

/// Lines of context.
const CONTEXT: usize = 3;
/// From this many lines on, lines that make up more than a hundredth are not looked for.
const POPULAR_FROM: usize = 200;

/// The difference between two values; empty when they are the same.
pub(crate) fn unified(old: &Value, new: &Value) -> String {
    let (a, b) = (json_lines(old), json_lines(new));
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split('\n').collect(), b.split('\n').collect());
    let mut out = String::new();
    for group in grouped(&steps(&a, &b)) {
        let (first, last) = (&group[0], &group[group.len() - 1]);
        out.push_str(&format!("@@ -{} +{} @@\n", range(first.a.0, last.a.1), range(first.b.0, last.b.1)));
        for s in &group {
            if s.equal {
                lines(&mut out, ' ', &a[s.a.0..s.a.1]);
            } else {
                lines(&mut out, '-', &a[s.a.0..s.a.1]);
                lines(&mut out, '+', &b[s.b.0..s.b.1]);
            }
        }
    }
    out
}

fn lines(out: &mut String, mark: char, lines: &[&str]) {
    for l in lines {
        out.push(mark);
        out.push_str(l);
        out.push('\n');
    }
}

fn range(from: usize, to: usize) -> String {
    match to - from {
        1 => format!("{}", from + 1),
        0 => format!("{from},0"),
        n => format!("{},{n}", from + 1),
    }
}

/// A run of lines on both sides.
#[derive(Debug, Clone, Copy)]
struct Step {
    equal: bool,
    a: (usize, usize),
    b: (usize, usize),
}

/// Runs that are equal or not, one after the other.
fn steps(a: &[&str], b: &[&str]) -> Vec<Step> {
    let mut out = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (ai, bj, size) in matches(a, b) {
        if i < ai || j < bj {
            out.push(Step { equal: false, a: (i, ai), b: (j, bj) });
        }
        (i, j) = (ai + size, bj + size);
        if size > 0 {
            out.push(Step { equal: true, a: (ai, i), b: (bj, j) });
        }
    }
    out
}

/// All equal runs in order, an empty one at the end.
fn matches(a: &[&str], b: &[&str]) -> Vec<(usize, usize, usize)> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (j, l) in b.iter().enumerate() {
        places.entry(l).or_default().push(j);
    }
    if b.len() >= POPULAR_FROM {
        places.retain(|_, p| p.len() * 100 <= b.len());
    }
    let mut found = Vec::new();
    let mut todo = vec![(0, a.len(), 0, b.len())];
    while let Some((alo, ahi, blo, bhi)) = todo.pop() {
        let (i, j, size) = longest(a, b, &places, (alo, ahi), (blo, bhi));
        if size > 0 {
            found.push((i, j, size));
            if alo < i && blo < j {
                todo.push((alo, i, blo, j));
            }
            if i + size < ahi && j + size < bhi {
                todo.push((i + size, ahi, j + size, bhi));
            }
        }
    }
    found.sort_unstable();
    let mut out: Vec<(usize, usize, usize)> = Vec::new();
    for (i, j, size) in found {
        match out.last_mut() {
            Some(last) if last.0 + last.2 == i && last.1 + last.2 == j => last.2 += size,
            _ => out.push((i, j, size)),
        }
    }
    out.push((a.len(), b.len(), 0));
    out
}

/// The longest equal run within two ranges, the earliest of those.
fn longest(
    a: &[&str],
    b: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    (alo, ahi): (usize, usize),
    (blo, bhi): (usize, usize),
) -> (usize, usize, usize) {
    let (mut bi, mut bj, mut size) = (alo, blo, 0);
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for (i, line) in a.iter().enumerate().take(ahi).skip(alo) {
        let mut next = HashMap::new();
        for &j in places.get(line).into_iter().flatten().filter(|j| (blo..bhi).contains(*j)) {
            let k = if j > 0 { lengths.get(&(j - 1)).copied().unwrap_or(0) } else { 0 } + 1;
            next.insert(j, k);
            if k > size {
                (bi, bj, size) = (i + 1 - k, j + 1 - k, k);
            }
        }
        lengths = next;
    }
    while bi > alo && bj > blo && a[bi - 1] == b[bj - 1] {
        (bi, bj, size) = (bi - 1, bj - 1, size + 1);
    }
    while bi + size < ahi && bj + size < bhi && a[bi + size] == b[bj + size] {
        size += 1;
    }
    (bi, bj, size)
}

/// Steps with their context, what is far apart in groups of its own.
fn grouped(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut steps = steps.to_vec();
    if let Some(s) = steps.first_mut().filter(|s| s.equal) {
        s.a.0 = s.a.0.max(s.a.1.saturating_sub(CONTEXT));
        s.b.0 = s.b.0.max(s.b.1.saturating_sub(CONTEXT));
    }
    if let Some(s) = steps.last_mut().filter(|s| s.equal) {
        s.a.1 = s.a.1.min(s.a.0 + CONTEXT);
        s.b.1 = s.b.1.min(s.b.0 + CONTEXT);
    }
    let (mut out, mut group): (Vec<Vec<Step>>, Vec<Step>) = (Vec::new(), Vec::new());
    for mut s in steps {
        if s.equal && s.a.1 - s.a.0 > 2 * CONTEXT {
            group.push(Step { equal: true, a: (s.a.0, s.a.0 + CONTEXT), b: (s.b.0, s.b.0 + CONTEXT) });
            out.push(std::mem::take(&mut group));
            s.a.0 = s.a.1 - CONTEXT;
            s.b.0 = s.b.1 - CONTEXT;
        }
        group.push(s);
    }
    out.push(group);
    out.retain(|g| g.iter().any(|s| !s.equal));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_changed_line_stands_in_its_context() {
        let d = unified(&json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}), &json!({"a": 1, "b": 2, "c": 3, "d": 9, "e": 5}));
        assert_eq!(d, "@@ -2,6 +2,6 @@\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3,\n- \"d\": 4,\n+ \"d\": 9,\n  \"e\": 5\n }\n");
    }

    #[test]
    fn changes_far_apart_stand_in_groups_of_their_own() {
        let old = json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let d = unified(&old, &json!([0, 2, 3, 4, 5, 6, 7, 8, 9, 11]));
        assert_eq!(d.matches("@@ -").count(), 2);
        assert_eq!(unified(&old, &old), "");
    }

    #[test]
    fn a_grown_list_shows_what_came() {
        let d = unified(&json!({"a": null}), &json!({"a": [1]}));
        assert_eq!(d, "@@ -1,3 +1,5 @@\n {\n- \"a\": null\n+ \"a\": [\n+  1\n+ ]\n }\n");
    }
}
