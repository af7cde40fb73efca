//! The combinations of a grid: which there are, what each is called, which settings it makes.

use rigl_base::error::short;
use rigl_base::{Error, Result};
use rigl_train::config::Override;

use crate::file::{Match, Setting, Sweep};
use crate::names::{LONGEST_NAME, shorten};

/// The placeholder for what `variant` gives.
const VARIANT: &str = "variant";

/// One value of each axis, by number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Combination(pub(crate) Vec<usize>);

impl Sweep {
    /// Every combination that is not left out, the last key varying fastest.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if none is left.
    pub fn combinations(&self) -> Result<Vec<Combination>> {
        let all = self.axes.iter().map(|axis| axis.values.len()).product();
        let mut combinations = Vec::new();
        for number in 0..all {
            let mut rest: usize = number;
            let mut choice = vec![0; self.axes.len()];
            for (choice, axis) in choice.iter_mut().zip(&self.axes).rev() {
                *choice = rest % axis.values.len();
                rest /= axis.values.len();
            }
            let combination = Combination(choice);
            if !self.exclude.iter().any(|excluded| excluded.holds(&combination)) {
                combinations.push(combination);
            }
        }
        if combinations.is_empty() {
            return Err(Error::usage(format!("`{}`: `[[exclude]]` leaves no run", self.name)));
        }
        Ok(combinations)
    }

    /// What a combination is called: each key with its value. A value added at the end of an axis changes no name.
    pub fn name_of(&self, combination: &Combination) -> String {
        let [name, ..] = self.names_of(combination);
        name
    }

    /// The same, and what it is called with its keys by their present names and by their older ones: runs may lie in
    /// folders of these names.
    pub fn names_of(&self, combination: &Combination) -> [String; 3] {
        let parts = |spelling: usize| {
            let labels = self.axes.iter().zip(&combination.0);
            labels.map(|(axis, &choice)| &*axis.labels[spelling][choice]).collect::<Vec<_>>().join("-")
        };
        [0, 1, 2].map(|spelling| shorten(&parts(spelling), LONGEST_NAME))
    }

    /// The settings of a combination, later ones winning: those of all runs, the grid's, those of every `[[when]]` that
    /// matches. (Where `seed` and `method.name` stand among them makes no difference to the keys these stand for.)
    /// `variant` is what `{variant}` in a string stands for; `{key}` is the combination's own value.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a placeholder that is no key of the grid.
    pub fn settings(&self, combination: &Combination, variant: &str) -> Result<Vec<Override>> {
        let grid = self.axes.iter().zip(&combination.0).map(|(axis, &choice)| &axis.settings[choice]);
        let when =
            self.when.iter().filter(|(matching, _)| matching.holds(combination)).flat_map(|(_, set)| set);
        let all = self.set.iter().chain(grid).chain(when);
        all.map(|setting| self.setting(setting, combination, variant)).collect()
    }

    /// What is varied, each value as a setting.
    pub(crate) fn grid_settings(&self) -> impl Iterator<Item = Override> {
        let settings = self.axes.iter().flat_map(|axis| &axis.settings);
        settings.map(|Setting { key, value, place, .. }| Override::new(place, key, value))
    }

    fn setting(&self, setting: &Setting, combination: &Combination, variant: &str) -> Result<Override> {
        let Setting { key, value, string, place, shared } = setting;
        let value = match string.as_ref().filter(|text| text.contains(['{', '}'])) {
            None => value.clone(),
            // Without quotes, as on a command line: it may have become a number.
            Some(text) => self.filled(text, setting, combination, variant)?,
        };
        Ok(Override { shared: *shared, ..Override::new(place, key, &value) })
    }

    /// A string with its placeholders filled in.
    fn filled(&self, text: &str, of: &Setting, combination: &Combination, variant: &str) -> Result<String> {
        let (place, key) = (&of.place, short(&of.key));
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once('{') {
            let Some((name, after)) = from.split_once('}') else {
                return Err(Error::usage(format!("{place}: `{key}` has a `{{` without `}}`")));
            };
            filled.push_str(before);
            match self.axes.iter().position(|axis| axis.key == name) {
                Some(axis) => filled.push_str(&self.axes[axis].values[combination.0[axis]]),
                None if name == VARIANT => filled.push_str(variant),
                None => {
                    let list: Vec<String> =
                        self.axes.iter().map(|axis| format!("`{{{}}}`", axis.key)).collect();
                    return Err(Error::usage(format!(
                        "{place}: `{key}` has `{{{}}}`, expected `{{{VARIANT}}}` or a key of `[grid]`: {}",
                        short(name),
                        short(&list.join(", "))
                    )));
                }
            }
            rest = after;
        }
        Ok(filled + rest)
    }
}

impl Match {
    fn holds(&self, combination: &Combination) -> bool {
        self.0.iter().all(|(axis, values)| values.contains(&combination.0[*axis]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        preset = "quickstart"
        [set]
        "model.dropout" = 0
        "data.name" = "of-{method.name}-{seed}{variant}"
        "seeds.init" = "10{seed}"
        [grid]
        "method.name" = ["dense", "static", "rigl"]
        method.sparsity = [0.90, 0.98]
        seed = [0, 1]
        [[exclude]]
        "method.name" = "dense"
        "method.sparsity" = 0.98
        [[exclude]]
        "method.name" = ["static", "rigl"]
        seed = 1
        [[when]]
        match = { "method.name" = "static" }
        set = { "method.update-interval" = 1000, "model.dropout" = 0.5 }
    "#;

    fn sweep(text: &str) -> Sweep {
        Sweep::parse("s.toml", text).unwrap()
    }

    fn names(sweep: &Sweep) -> Vec<String> {
        sweep.combinations().unwrap().iter().map(|combination| sweep.name_of(combination)).collect()
    }

    #[test]
    fn every_combination_but_the_excluded_ones_in_the_order_of_the_file() {
        assert_eq!(
            names(&sweep(FILE)),
            [
                "method.name.dense-method.sparsity.0.9-seed.0",
                "method.name.dense-method.sparsity.0.9-seed.1",
                "method.name.static-method.sparsity.0.9-seed.0",
                "method.name.static-method.sparsity.0.98-seed.0",
                "method.name.rigl-method.sparsity.0.9-seed.0",
                "method.name.rigl-method.sparsity.0.98-seed.0",
            ]
        );
    }

    #[test]
    fn settings_are_those_of_all_then_the_grids_then_of_what_matches() {
        let sweep = sweep(FILE);
        let combinations = sweep.combinations().unwrap();
        let settings = |number: usize| -> Vec<String> {
            let settings = sweep.settings(&combinations[number], "-x2").unwrap();
            settings.iter().map(|setting| format!("{}={}", setting.key, setting.value)).collect()
        };
        assert_eq!(
            settings(1),
            [
                "model.dropout=0",
                "data.name=of-dense-1-x2",
                "seeds.init=101",
                "method.name=\"dense\"",
                "method.sparsity=0.90",
                "seed=1"
            ]
        );
        assert_eq!(settings(3)[6..], ["method.update-interval=1000", "model.dropout=0.5"]);
        let places: Vec<String> =
            sweep.settings(&combinations[3], "").unwrap().into_iter().map(|setting| setting.origin).collect();
        assert_eq!(places[0], "`s.toml` line 4");
        assert_eq!((places[5].as_str(), places[7].as_str()), ("`s.toml` line 10", "`s.toml` line 19"));
    }

    #[test]
    fn values_added_at_the_end_change_no_name() {
        let grid =
            |values: &str| names(&sweep(&format!("[grid]\n'schedule.milestones' = [{values}]\nseed=[0]")));
        let long = format!("[{}]", vec!["1"; 50].join(", "));
        let short = grid(&format!("[1, 2], '[1;2]', {long}"));
        assert_eq!(short[..2], ["schedule.milestones._1_2_-seed.0", "schedule.milestones._1_2_+2-seed.0"]);
        assert!(short[2].len() < 80, "{}", short[2]);
        assert_eq!(grid(&format!("[1, 2], '[1;2]', {long}, '_1_2_'"))[..3], short);
        let many: String = (0..12).map(|i| format!("'model.{}{i}' = [0]\n", "x".repeat(30))).collect();
        assert!(names(&sweep(&format!("[grid]\n{many}")))[0].len() <= LONGEST_NAME);
    }

    #[track_caller]
    fn refused(text: &str, message: &str, hint: Option<&str>) {
        let error = Sweep::parse("s.toml", text).and_then(|sweep| {
            let combinations = sweep.combinations()?;
            combinations.iter().try_for_each(|combination| sweep.settings(combination, "").map(drop))
        });
        let error = error.expect_err(text);
        assert_eq!((error.to_string().as_str(), error.hint_text()), (message, hint), "{text}");
        assert_eq!(error.kind(), rigl_base::Kind::Usage);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let none = "`s.toml` has no `[grid]`, expected one with at least one key";
        let hint = Some("`seed = [0, 1, 2]` below a line `[grid]`");
        refused("", none, hint);
        refused("[grid]", none, hint);
        refused("[grid]\nseed = = 1", "`s.toml` line 2: extra `=`, expected nothing", None);
        let allowed = "allowed are `preset`, `base`, `set`, `grid`, `exclude`, `when`";
        refused("gird = 1", &format!("`s.toml` line 1: unknown key `gird`, {allowed}"), Some("grid"));
        refused(
            "[grid]\nseed = [0]\n[method]\nname = 'rigl'",
            &format!("`s.toml` line 3: unknown key `method`, {allowed}"),
            Some("settings of all runs stand in `[set]`, what is varied in `[grid]`"),
        );
        refused(
            "preset = 'a'\nbase = 'b.toml'\n[grid]\nseed = [0]",
            "`s.toml` line 2: `preset` is given already, expected one of the two",
            Some("a configuration file may name its preset itself"),
        );
        refused("preset = 3", "`s.toml` line 1: `preset` is `3`, expected a name in quotes", None);
        let grid = |rest: &str| format!("[grid]\nseed = [0, 1]\n{rest}");
        let list = "expected a list of values";
        refused("[grid]\nseed = 3", &format!("`s.toml` line 2: `seed` is `3`, {list}"), Some("[3]"));
        refused("[grid]\nseed = []", &format!("`s.toml` line 2: `seed` is `[]`, {list}"), None);
        refused("[grid]\nseed = [1, 2, 1.0]", "`s.toml` line 2: `seed` has `1` twice", None);
        refused(
            &grid("'method.name' = ['a']\nmethod.name = ['b']"),
            "`s.toml` line 4: `method.name` stands already at `s.toml` line 3",
            None,
        );
        refused(
            &grid("[[exclude]]\nseeds = 1"),
            "`s.toml` line 4: `seeds` is no key of `[grid]`, which has `seed`",
            Some("seed"),
        );
        refused(
            &grid("[[exclude]]\nseed = 2"),
            "`s.toml` line 4: `seed` is `2`, the grid has `0`, `1`",
            None,
        );
        refused(
            &grid("[[exclude]]"),
            "`s.toml` line 3: names no key of `[grid]`, expected at least one",
            None,
        );
        refused(&grid("[[exclude]]\nseed = [0, 1]"), "`s.toml`: `[[exclude]]` leaves no run", None);
        refused(
            &grid("[exclude]\nseed = 1"),
            "`s.toml` line 3: `exclude` is a table, expected tables",
            Some("[[exclude]]"),
        );
        let tables = |key: &str, hint: &str, text: &str, line: usize| {
            let message = format!("`s.toml` line {line}: `{key}` is an array of tables, expected a table");
            refused(text, &message, Some(hint));
        };
        tables("grid", "[grid]", "[[grid]]\nseed = [0, 1]", 1);
        tables("set", "[set]", &grid("[[set]]\nmultiplier = 2"), 3);
        tables("match", "match = { … }", &grid("[[when]]\n[[when.match]]\nseed = 1"), 4);
        refused(
            &grid("[[exclude]]\nseed = []"),
            "`s.toml` line 4: `seed` is `[]`, expected a value or a list of at least one",
            None,
        );
        refused(
            "[grid]\n'schedule.milestones' = [[1, 2], [3]]\n[[exclude]]\n'schedule.milestones' = [1, 2]",
            "`s.toml` line 4: `schedule.milestones` is `1`, the grid has `[1,2]`, `[3]`",
            Some("[[1, 2]]"),
        );
        refused(&grid("[[when]]\nset = {}"), "`s.toml` line 3: `[[when]]` has no `match`", None);
        refused(
            &grid("[[when]]\nmach = {}"),
            "`s.toml` line 4: unknown key `mach`",
            Some("match = { … } and set = { … }"),
        );
        let name = "expected `{variant}` or a key of `[grid]`: `{seed}`";
        refused(
            &grid("[set]\n'data.name' = 'a{sed}'"),
            &format!("`s.toml` line 4: `data.name` has `{{sed}}`, {name}"),
            None,
        );
        refused(
            &grid("[set]\n'data.name' = 'a{seed'"),
            "`s.toml` line 4: `data.name` has a `{` without `}`",
            None,
        );
        let big = (0..5).map(|i| format!("'k{i}' = [0,1,2,3,4,5,6,7,8,9]\n")).collect::<String>();
        refused(
            &format!("[grid]\n{big}"),
            "`s.toml` line 6: with `k4` the grid makes more than 10000 runs",
            None,
        );
    }
}
