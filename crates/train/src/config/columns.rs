//! A method's name is a preset of the tables of `[method]`: what a row of the method table gives to them, and the row
//! that they come to in the end.

use rigl_base::error::short;
use rigl_base::{Error, Result, unknown};
use rigl_topology::{
    Budget, DropRule, Dynamics, GrowRule, Method as Row, Noise, Redistribution, Score, Start, Topology,
    UpdateRule,
};

use super::check::Contradiction;
use super::method::{
    CountKind, DropKind, GrowKind, Method, MethodCount, MethodDrop, MethodGrow, MethodStart, StartKind,
    UpdateEnd,
};
use super::{Config, Known};

/// The keys that contradict each other.
const NAME: &str = "method.name";
const START: &str = "method.start.kind";
const RUN: &str = "method.start.run";
const DROP: &str = "method.drop.kind";
const DROP_SCORE: &str = "method.drop.score";
const GROW: &str = "method.grow.kind";
const GROW_SCORE: &str = "method.grow.score";
const COUNT: &str = "method.count.kind";
const INITIAL: &str = "method.count.initial-sparsity";
const BY: &str = "method.count.by";

/// Sets what the method's name determines. A stranger's has said all of it itself.
pub(super) fn apply(config: &mut Config, known: &Known) -> Result<()> {
    match find(&known.methods, &config.method.name) {
        Ok(row) => config.method.set(row),
        Err(_) if known.strangers => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

impl Config {
    /// The same configuration with this method. What only another reads stays, for the next one.
    #[must_use]
    pub fn with_method(&self, row: &Row) -> Config {
        let mut config = self.clone();
        config.method.set(row);
        config
    }

    /// The row of the method table that this configuration describes: the named one, as the tables of `[method]` have it.
    ///
    /// Its `schedule` stays the named row's own; what counts is [`Recipe`](crate::recipe::Recipe).
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no row of that name, or the tables do not go
    /// together.
    pub fn method_row(&self, rows: &[Row]) -> Result<Row> {
        self.row(rows, false)
    }

    /// The same, perhaps of a stranger's method: one that is described and need not be known, as long as nobody trains by it.
    ///
    /// # Errors
    /// As [`method_row`](Config::method_row).
    pub(crate) fn row(&self, rows: &[Row], strangers: bool) -> Result<Row> {
        let name = &self.method.name;
        let named = match find(rows, name) {
            Err(_) if strangers => Row { name: name.clone().into(), schedule: None, ..Row::DENSE },
            found => found?.clone(),
        };
        let topology = self.method.topology(rows, strangers).map_err(|contradiction| contradiction.error)?;
        let row = Row { topology, ..named };
        row.check()?;
        Ok(row)
    }

    /// What the network may keep, and how it is spread, as [`rigl_topology::allocate`] takes it.
    pub fn budget(&self) -> Budget {
        self.budget_at(1.0)
    }

    /// The same where no layer has a sparsity beyond this one yet.
    pub(crate) fn budget_at(&self, most: f64) -> Budget {
        let explicit = self.method.layers.0.iter().map(|(glob, sparsity)| (glob.clone(), sparsity.min(most)));
        Budget {
            sparsity: self.method.sparsity.min(most),
            distribution: self.method.distribution,
            layers: self.method.filter.clone(),
            explicit: explicit.collect(),
        }
    }
}

fn find<'a>(rows: &'a [Row], name: &str) -> Result<&'a Row> {
    let names = rows.iter().map(|row| &*row.name);
    rows.iter().find(|row| row.name == name).ok_or_else(|| unknown("method", name, names))
}

impl Method {
    /// Sets what this row says. What is taken over from a run stays.
    fn set(&mut self, row: &Row) {
        self.name = row.name.clone().into();
        let mut start = MethodStart { kind: start_kind(row), ..MethodStart::default() };
        (self.drop, self.grow) = (MethodDrop::default(), MethodGrow::default());
        (self.count, self.drop.kind, self.grow.kind) =
            (MethodCount::default(), DropKind::None, GrowKind::None);
        if let Topology::Narrow(to) = row.topology {
            start.narrow_to = to;
        }
        if !self.start.run.is_empty() {
            (start.run, start.values) = (std::mem::take(&mut self.start.run), self.start.values);
            if !row.is_dense() {
                start.kind = StartKind::From;
            }
        }
        self.start = start;
        if let Some(dynamics) = row.dynamics() {
            self.set_rule(dynamics.rule);
            self.updates.every_step = dynamics.every_step;
            self.updates.step_policy = dynamics.step_policy;
        }
        if let Some(schedule) = &row.schedule {
            self.updates.interval = schedule.interval;
            self.updates.begin = Some(schedule.begin);
            self.updates.end = UpdateEnd::Share(schedule.end);
            self.updates.drop_fraction = schedule.drop_fraction;
            self.updates.decay = schedule.decay;
        }
    }

    fn set_rule(&mut self, rule: UpdateRule) {
        self.drop.kind = DropKind::Magnitude;
        let grow = match rule {
            UpdateRule::Replace { drop, grow, redistribution } => {
                match drop {
                    DropRule::Magnitude => {}
                    DropRule::Importance { gradient } => {
                        (self.drop.kind, self.drop.gradient) = (DropKind::Importance, gradient);
                    }
                    DropRule::Own(score) => {
                        (self.drop.kind, self.drop.score) = (DropKind::Own, score.name.into());
                    }
                    DropRule::Threshold { start } => {
                        (self.drop.kind, self.drop.threshold) = (DropKind::Threshold, start);
                    }
                    DropRule::SignChange { noise } => {
                        (self.drop.kind, self.drop.noise) = (DropKind::SignChange, noise.is_some());
                        if let Some(Noise { pull, temperature }) = noise {
                            (self.drop.pull, self.drop.temperature) = (pull, temperature);
                        }
                    }
                }
                if let Some(by) = redistribution {
                    (self.count.kind, self.count.by) = (CountKind::Redistributed, by);
                }
                Some(grow)
            }
            UpdateRule::Prune { initial_sparsity, grow } => {
                (self.count.kind, self.count.initial_sparsity) = (CountKind::Cubic, initial_sparsity);
                grow
            }
            UpdateRule::Compete => {
                self.grow.kind = GrowKind::Magnitude;
                None
            }
        };
        let Some(grow) = grow else { return };
        self.grow.init = grow.init();
        self.grow.kind = match grow {
            GrowRule::Random { .. } => GrowKind::Random,
            GrowRule::Gradient { .. } => GrowKind::Gradient,
            GrowRule::Own { score, .. } => {
                self.grow.score = score.name.into();
                GrowKind::Own
            }
            GrowRule::Momentum { average, .. } => {
                self.grow.average = average;
                GrowKind::Momentum
            }
        };
    }

    /// What the tables come to together, where these methods are known; whether others' scores are let pass.
    ///
    /// # Errors
    /// If they contradict each other, or name a score that none of the methods has.
    pub(super) fn topology(&self, rows: &[Row], strangers: bool) -> Result<Topology, Contradiction> {
        let name = &self.name;
        let refused = |keys, problem: String| {
            Contradiction::of(keys, Error::usage(format!("method `{name}` {problem}")))
        };
        let (start, drop, grow, count) = (self.start.kind, self.drop.kind, self.grow.kind, self.count.kind);
        if start == StartKind::Narrow && !self.start.run.is_empty() {
            return Err(refused(
                &[NAME, START, RUN],
                "narrows the network, so nothing can be taken from `method.start.run`".into(),
            ));
        }
        if start == StartKind::From && self.start.run.is_empty() {
            return Err(refused(
                &[NAME, START, RUN],
                "starts from a run, which `method.start.run` must name".into(),
            ));
        }
        let still = drop == DropKind::None && grow == GrowKind::None && count == CountKind::Constant;
        let first = match start {
            StartKind::Full if count == CountKind::Cubic => Start::Random,
            StartKind::Full if still => return Ok(Topology::Dense),
            StartKind::Narrow if still => return Ok(Topology::Narrow(self.start.narrow_to)),
            StartKind::Full | StartKind::Narrow => {
                return Err(refused(
                    &[NAME, START, DROP, GROW, COUNT],
                    format!(
                        "has `start` = `{start}`, `drop` = `{drop}`, `grow` = `{grow}` and `count` = `{count}`: a dense network \
                     has nothing to drop and grow, allowed are `none`, `none` and `constant` with it{}",
                        if start == StartKind::Full { ", or a `cubic` count" } else { "" }
                    ),
                ));
            }
            StartKind::Random => Start::Random,
            StartKind::Saliency => Start::Saliency,
            StartKind::Magnitude => Start::Magnitude,
            StartKind::From => Start::Given,
        };
        if still {
            return Ok(Topology::Static(first));
        }
        // Every weight is there, or some are chosen.
        let chosen = matches!(start, StartKind::Random | StartKind::Saliency | StartKind::Magnitude);
        let all = self.count.initial_sparsity == 0.0;
        if count == CountKind::Cubic && start != StartKind::From && all == chosen {
            let sparsity = self.count.initial_sparsity;
            return Err(refused(
                &[NAME, START, COUNT, INITIAL],
                format!(
                    "has `start` = `{start}` and `count.initial-sparsity` = `{sparsity}`, allowed are `full` with 0, and others \
                 above it"
                ),
            ));
        }
        if count == CountKind::Cubic && self.count.initial_sparsity > self.sparsity {
            let (first, last) = (self.count.initial_sparsity, self.sparsity);
            return Err(refused(
                &[NAME, COUNT, INITIAL, "method.sparsity"],
                format!(
                    "has `count.initial-sparsity` = `{first}`, expected at most `sparsity`, which is `{last}`"
                ),
            ));
        }
        let rule = self.rule(rows, strangers).map_err(|(keys, problem)| refused(keys, problem))?;
        let (every_step, step_policy) = (self.updates.every_step, self.updates.step_policy);
        Ok(Topology::Dynamic(first, Dynamics { rule, every_step, step_policy }))
    }

    /// What an update does; if the tables contradict each other, which keys do and how.
    fn rule(&self, rows: &[Row], strangers: bool) -> Result<UpdateRule, (&'static [&'static str], String)> {
        const COLUMNS: &[&str] = &[NAME, DROP, GROW, COUNT];
        let (drop, grow, count, init) = (self.drop.kind, self.grow.kind, self.count.kind, self.grow.init);
        let grown = match grow {
            GrowKind::Magnitude if drop == DropKind::Magnitude && count == CountKind::Constant => {
                return Ok(UpdateRule::Compete);
            }
            GrowKind::Magnitude => {
                return Err((
                    COLUMNS,
                    format!(
                        "has `grow` = `magnitude`, `drop` = `{drop}` and `count` = `{count}`, allowed are `magnitude` and \
                     `constant` with it"
                    ),
                ));
            }
            GrowKind::None => None,
            GrowKind::Random => Some(GrowRule::Random { init }),
            GrowKind::Gradient => Some(GrowRule::Gradient { init }),
            GrowKind::Own => {
                let score = find_score(rows, strangers, &self.grow.score).map_err(|problem| {
                    (&[NAME, GROW, GROW_SCORE][..], format!("has `grow.score` = {problem}"))
                })?;
                Some(GrowRule::Own { score, init })
            }
            GrowKind::Momentum => Some(GrowRule::Momentum { average: self.grow.average, init }),
        };
        let dropped = match drop {
            DropKind::None => None,
            DropKind::Magnitude => Some(DropRule::Magnitude),
            DropKind::Importance => Some(DropRule::Importance { gradient: self.drop.gradient }),
            DropKind::Own => {
                let score = find_score(rows, strangers, &self.drop.score).map_err(|problem| {
                    (&[NAME, DROP, DROP_SCORE][..], format!("has `drop.score` = {problem}"))
                })?;
                Some(DropRule::Own(score))
            }
            DropKind::Threshold => Some(DropRule::Threshold { start: self.drop.threshold }),
            DropKind::SignChange => {
                let MethodDrop { noise, pull, temperature, .. } = self.drop;
                Some(DropRule::SignChange { noise: noise.then_some(Noise { pull, temperature }) })
            }
        };
        match (count, dropped, grown) {
            (CountKind::Cubic, Some(DropRule::Magnitude), grow) => {
                Ok(UpdateRule::Prune { initial_sparsity: self.count.initial_sparsity, grow })
            }
            (CountKind::Cubic, ..) => {
                let problem =
                    format!("has `count` = `cubic` and `drop` = `{drop}`, allowed is `magnitude` with it");
                Err((&[NAME, DROP, COUNT], problem))
            }
            (CountKind::Constant, Some(drop), Some(grow)) => Ok(UpdateRule::replace(drop, grow)),
            (CountKind::Redistributed, Some(drop), Some(grow)) => {
                let by = self.count.by;
                if by == Redistribution::Momentum && !matches!(grow, GrowRule::Momentum { .. }) {
                    let problem = format!(
                        "has `count.by` = `momentum` and `grow` = `{}`, allowed is `momentum` with it",
                        self.grow.kind
                    );
                    return Err((&[NAME, GROW, COUNT, BY], problem));
                }
                Ok(UpdateRule::Replace { drop, grow, redistribution: Some(by) })
            }
            (CountKind::Constant, ..) => Err((
                COLUMNS,
                format!("has `drop` = `{drop}` and `grow` = `{grow}`, allowed are both `none` or neither"),
            )),
            (CountKind::Redistributed, ..) => Err((
                COLUMNS,
                format!(
                    "has `count` = `redistributed`, `drop` = `{drop}` and `grow` = `{grow}`, allowed is `none` for neither with it"
                ),
            )),
        }
    }
}

/// The score of that name, which one of these methods has brought; without one, what to say of it.
fn find_score(rows: &[Row], strangers: bool, name: &str) -> Result<Score, String> {
    if strangers {
        // Nothing is dropped or grown by it.
        return Ok(Score { name: "a stranger's", of: |_| f32::NAN });
    }
    let mut scores = rows.iter().flat_map(Row::own_scores);
    scores.clone().find(|score| score.name == name).ok_or_else(|| {
        let found = format!("`{}`, a score of a program's own", short(name));
        match scores.next() {
            None => format!("{found}, of which this program has none"),
            Some(first) => {
                let mut known = vec![format!("`{}`", first.name)];
                known.extend(scores.map(|score| format!("`{}`", score.name)));
                known.dedup();
                format!("{found}, known are {}", known.join(", "))
            }
        }
    })
}

/// The kind of start that a row has, where it is not from a run.
fn start_kind(row: &Row) -> StartKind {
    match row.topology {
        Topology::Dense => StartKind::Full,
        Topology::Narrow(_) => StartKind::Narrow,
        Topology::Dynamic(Start::Random, _) if row.initial_sparsity() == Some(0.0) => StartKind::Full,
        Topology::Static(start) | Topology::Dynamic(start, _) => match start {
            // Patterns that are given are those of a run, which the row cannot name.
            Start::Random | Start::Given => StartKind::Random,
            Start::Saliency => StartKind::Saliency,
            Start::Magnitude => StartKind::Magnitude,
        },
    }
}

#[cfg(test)]
mod tests {
    use rigl_topology::{GrownInit, ScheduleDefaults, StepPolicy, UpdateSchedule};

    use super::*;
    use crate::recipe::Recipe;
    use crate::registry::Registry;
    use crate::settings::Settings;

    #[test]
    fn the_default_configuration_is_what_its_methods_name_gives() {
        let mut config = Config::default();
        apply(&mut config, &Known::default()).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.method_row(Row::ALL).unwrap(), Row::RIGL);
    }

    #[test]
    fn every_row_survives_the_configuration() {
        for row in Row::ALL {
            for before in Row::ALL {
                let config = Config::default().with_method(before).with_method(row);
                assert_eq!(config.method_row(Row::ALL).unwrap(), *row);
            }
        }
    }

    /// RigL's step policy, with random growth, and a schedule.
    fn mine() -> Row {
        let rule = UpdateRule::replace(DropRule::Magnitude, GrowRule::Random { init: GrownInit::Redraw });
        let dynamics = Dynamics { step_policy: StepPolicy::Replace, ..Dynamics::new(rule) };
        let schedule = ScheduleDefaults { interval: 50, end: 0.5, ..ScheduleDefaults::PAPER };
        Row {
            name: "mine".into(),
            topology: Topology::dynamic(dynamics),
            schedule: Some(schedule),
            ..Row::RIGL
        }
    }

    /// The schedule of 20 epochs of 60,000 samples.
    fn schedule(config: Config) -> UpdateSchedule {
        let settings = Settings::new(config, &Registry::default().method(mine())).unwrap();
        *Recipe::new(&settings, 60_000).unwrap().updates.schedule()
    }

    #[test]
    fn a_users_own_row_is_a_name_like_the_others_and_brings_its_schedule() {
        let mut rows = Row::ALL.to_vec();
        rows.push(mine());
        let mut config = Config::default();
        config.method.name = "mine".into();
        let known = Known { methods: rows.clone(), ..Known::default() };
        apply(&mut config, &known).unwrap();
        assert_eq!((config.method.grow.kind, config.method.grow.init), (GrowKind::Random, GrownInit::Redraw));
        assert_eq!(Some(&config.method_row(&rows).unwrap()), rows.last());
        let schedule = schedule(config.clone());
        assert_eq!((schedule.interval, schedule.begin, schedule.end), (50, 0, 6_000));
        assert!(apply(&mut config, &Known::default()).is_err());
    }

    #[test]
    fn without_a_schedule_of_the_row_or_the_user_it_is_the_papers() {
        assert_eq!(schedule(Config::default()), ScheduleDefaults::PAPER.for_steps(12_000));
        assert!(Row::ALL.iter().all(|row| row.schedule.is_none()));
    }

    #[test]
    fn a_method_stays_with_the_run_that_it_starts_from() {
        let mut config = Config::default();
        (config.method.start.kind, config.method.start.run) = (StartKind::From, "run".into());
        let start = |row: &Row| config.with_method(row).method.start;
        for row in [&Row::SET, &Row::STATIC, &Row::SNIP, &Row::PRUNING] {
            assert_eq!(start(row), config.method.start, "{}", row.name);
        }
        assert_eq!(start(&Row::DENSE), MethodStart { kind: StartKind::Full, ..config.method.start.clone() });
        assert!(config.with_method(&Row::SMALL_DENSE).method_row(Row::ALL).is_err());
    }

    #[test]
    fn tables_that_contradict_each_other_are_refused() {
        let refused = |row: &Row, change: fn(&mut Method), part: &str| {
            let mut config = Config::default().with_method(row);
            change(&mut config.method);
            let error = config.method_row(Row::ALL).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        let both = "allowed are both `none`";
        refused(&Row::RIGL, |m| m.grow.kind = GrowKind::None, both);
        refused(&Row::RIGL, |m| m.drop.kind = DropKind::None, both);
        refused(&Row::RIGL, |m| m.start.kind = StartKind::Full, "a dense network has nothing to drop");
        refused(&Row::RIGL, |m| m.start.kind = StartKind::Narrow, "a dense network has nothing to drop");
        refused(&Row::RIGL, |m| m.start.kind = StartKind::From, "`method.start.run` must name");
        refused(&Row::PRUNING, |m| m.start.kind = StartKind::Random, "allowed are `full` with 0");
        refused(&Row::PRUNING, |m| m.count.initial_sparsity = 0.5, "allowed are `full` with 0");
        let above = |m: &mut Method| {
            (m.start.kind, m.count.initial_sparsity) = (StartKind::Random, 0.95);
        };
        refused(&Row::PRUNING, above, "expected at most `sparsity`, which is `0.9`");
        refused(&Row::PRUNING, |m| m.drop.kind = DropKind::Threshold, "allowed is `magnitude` with it");
        refused(&Row::PRUNING, |m| m.drop.kind = DropKind::None, "allowed is `magnitude` with it");
        refused(
            &Row::PRUNING,
            |m| m.grow.kind = GrowKind::Magnitude,
            "allowed are `magnitude` and `constant`",
        );
        refused(&Row::DSR, |m| m.grow.kind = GrowKind::Magnitude, "allowed are `magnitude` and `constant`");
        refused(
            &Row::STATIC,
            |m| m.grow.kind = GrowKind::Magnitude,
            "allowed are `magnitude` and `constant`",
        );
        refused(&Row::STATIC, |m| m.count.kind = CountKind::Redistributed, "allowed is `none` for neither");
        refused(&Row::DENSE, |m| m.count.kind = CountKind::Redistributed, "a dense network has nothing");
        let by_momentum = |m: &mut Method| {
            (m.count.kind, m.count.by) = (CountKind::Redistributed, Redistribution::Momentum);
        };
        refused(&Row::RIGL, by_momentum, "allowed is `momentum` with it");
        let mut snfs = Config::default().with_method(&Row::SNFS);
        by_momentum(&mut snfs.method);
        snfs.method_row(Row::ALL).unwrap();
    }
}
