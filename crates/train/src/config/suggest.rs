//! "Did you mean": the nearest of the names there are.

use rigl_base::Error;
use rigl_base::error::short;

/// The name of `names` that `name` was probably meant to be: at most a third of its letters wrong (swapped
/// neighbours count once), the nearest first, of equally near ones the first. Case and `_` for `-` are no
/// difference.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer ones are no names, and the distance takes time that grows with the square.
    if name.len() > 200 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let name = plain(name);
    let near = names.filter_map(|candidate| {
        let distance = strsim::osa_distance(&name, &plain(candidate));
        let length = candidate.chars().count().max(name.chars().count());
        (distance * 3 <= length.max(3)).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// The usage error for a name that is none of `names`, which it lists; the nearest is the hint.
///
/// `what` is the kind of thing: "method", "preset", "model".
pub fn unknown<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str> + Clone) -> Error {
    let list: Vec<String> = names.clone().map(|name| format!("`{name}`")).collect();
    let (found, list) = (short(name), list.join(", "));
    let error = Error::usage(format!("no {what} is called `{found}`, allowed are {list}"));
    match nearest(name, names) {
        Some(name) => error.hint(name),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = ["drop", "drop-fraction", "distribution", "decay"];
        let find = |name: &str| nearest(name, names.into_iter());
        assert_eq!(find("drop_fraction"), Some("drop-fraction"));
        assert_eq!(find("Drop"), Some("drop"));
        assert_eq!(find("dorp"), Some("drop"));
        assert_eq!(find("distributoin"), Some("distribution"));
        assert_eq!(find("momentum"), None);
        assert_eq!(find(""), None);
        assert_eq!(find(&"x".repeat(100_000)), None);
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let error = unknown("method", "rigel", ["rigl", "set"].into_iter());
        assert_eq!(error.to_string(), "no method is called `rigel`, allowed are `rigl`, `set`");
        assert_eq!(error.hint_text(), Some("rigl"));
    }
}
