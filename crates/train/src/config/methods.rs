//! A method's name is a preset of the `[method]` table: what a row of the method table gives to it, and the
//! row that comes out in the end.

use rigl_base::{Result, unknown};
use rigl_topology::{Budget, Method as Row};

use super::Config;

/// The keys of the columns, for messages.
pub(super) const COLUMNS: &[&str] = &[
    "method.initial",
    "method.drop",
    "method.grow",
    "method.grown-init",
    "method.step-policy",
    "method.update-timing",
    "method.state",
    "method.density-decay",
    "method.redistribution",
    "method.after-step",
];

/// Sets the columns that the method's name determines.
pub(super) fn apply(config: &mut Config, rows: &[Row]) -> Result<()> {
    let row = find(rows, &config.method.name)?;
    *config = config.with_method(row);
    Ok(())
}

impl Config {
    /// The same configuration with this method and its columns.
    #[must_use]
    pub fn with_method(&self, row: &Row) -> Config {
        let mut config = self.clone();
        config.method.set(row);
        config
    }

    /// The row of the method table that this configuration describes: the named one, with the columns of
    /// `[method]`.
    ///
    /// Its `schedule` stays the named row's own; what counts is [`Recipe`](crate::recipe::Recipe).
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no row of that name, or the columns do not go
    /// together.
    pub fn method_row(&self, rows: &[Row]) -> Result<Row> {
        let named = find(rows, &self.method.name)?;
        let row = Row { topology: self.method.topology()?, ..named.clone() };
        row.check()?;
        Ok(row)
    }

    /// What the network may keep, and how it is spread, as [`rigl_topology::allocate`] takes it.
    pub fn budget(&self) -> Budget {
        Budget {
            sparsity: self.method.sparsity,
            distribution: self.method.distribution,
            layers: self.method.filter.clone(),
            explicit: self.method.layers.0.clone(),
        }
    }
}

fn find<'a>(rows: &'a [Row], name: &str) -> Result<&'a Row> {
    let names = rows.iter().map(|row| &*row.name);
    rows.iter().find(|row| row.name == name).ok_or_else(|| unknown("method", name, names))
}

#[cfg(test)]
mod tests {
    use rigl_topology::{Dynamics, GrowRule, GrownInit, ScheduleDefaults, StepPolicy, Topology, UpdateRule};

    use super::*;
    use crate::config::{
        AfterStep, DropScore, GrowScore, Initial, Method, Redistribution, StateHandling, UpdateEnd,
    };

    #[test]
    fn the_default_configuration_is_what_its_methods_name_gives() {
        let mut config = Config::default();
        apply(&mut config, Row::ALL).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.method_row(Row::ALL).unwrap(), Row::RIGL);
    }

    #[test]
    fn every_column_has_its_key_and_every_row_survives_the_configuration() {
        for column in COLUMNS {
            assert!(crate::config::keys().iter().any(|key| key.path == *column), "{column}");
        }
        for row in Row::ALL {
            let mut config = Config::default();
            config.method.name = row.name.clone().into();
            apply(&mut config, Row::ALL).unwrap();
            assert_eq!(config.method_row(Row::ALL).unwrap(), *row);
        }
    }

    #[test]
    fn the_default_schedule_is_the_one_of_every_row() {
        let method = Config::default().method;
        assert_eq!(method.update_end, UpdateEnd::Auto);
        let defaults = ScheduleDefaults {
            interval: method.update_interval,
            begin: method.update_begin.unwrap_or(0),
            end: 0.75,
            drop_fraction: method.drop_fraction,
            decay: method.decay,
        };
        for row in Row::ALL {
            assert_eq!(row.schedule, defaults, "{}", row.name);
        }
    }

    /// RigL's step policy, with random growth.
    fn mine() -> Row {
        let rule = UpdateRule::replace(rigl_topology::DropRule::Magnitude, GrowRule::RANDOM);
        let dynamics = Dynamics { step_policy: StepPolicy::Replace, ..Dynamics::new(rule) };
        Row { name: "mine".into(), topology: Topology::dynamic(dynamics), ..Row::RIGL }
    }

    #[test]
    fn a_users_own_row_is_a_name_like_the_others() {
        let mut rows = Row::ALL.to_vec();
        rows.push(mine());
        let mut config = Config::default();
        config.method.name = "mine".into();
        apply(&mut config, &rows).unwrap();
        assert_eq!(config.method.grow, GrowScore::Random);
        assert_eq!(Some(&config.method_row(&rows).unwrap()), rows.last());
        assert!(apply(&mut config, Row::ALL).is_err());
    }

    #[test]
    fn columns_override_the_row_and_must_go_together() {
        let mut config = Config::default();
        config.method.grow = GrowScore::Random;
        assert_eq!(config.method_row(Row::ALL).unwrap().topology, mine().topology);
        config.method.grow = GrowScore::None;
        assert!(config.method_row(Row::ALL).is_err());
    }

    #[test]
    fn rows_whose_values_contradict_each_other_are_refused() {
        let refused = |row: &Row, change: fn(&mut Method), part: &str| {
            let mut config = Config::default().with_method(row);
            change(&mut config.method);
            let error = config.method_row(Row::ALL).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(&Row::RIGL, |m| m.grow = GrowScore::None, "`grow` = `none`");
        refused(&Row::RIGL, |m| m.drop = DropScore::None, "`drop` = `none`");
        refused(&Row::RIGL, |m| m.initial = Initial::Dense, "starts dense");
        refused(&Row::RIGL, |m| m.initial = Initial::Full, "`density-decay` = `none`, `initial` = `full`");
        refused(&Row::PRUNING, |m| m.initial = Initial::Random, "`density-decay` = `cubic`");
        refused(&Row::PRUNING, |m| m.drop = DropScore::Threshold, "`drop` = `threshold`");
        refused(&Row::RIGL, |m| m.state = StateHandling::Kept, "`state` = `kept`");
        refused(&Row::RIGL, |m| m.grow = GrowScore::Magnitude, "`grow` = `magnitude`");
        refused(&Row::STATIC, |m| m.redistribution = Redistribution::Survivors, "where nothing is grown");
        refused(&Row::RIGL, |m| m.redistribution = Redistribution::Momentum, "`grow` = `momentum` with it");
        refused(&Row::DNW, |m| m.grown_init = GrownInit::Normal, "`grown-init` = `normal`");
        for row in [&Row::DENSE, &Row::STATIC, &Row::SET, &Row::DNW] {
            refused(row, |m| m.after_step = AfterStep::Noise, "`drop` = `sign-change` with it");
        }
    }
}
