//! What other programs call networks: whoever asks for one by such a name is told which of ours it is, or that there is
//! none.

/// What to write for a network that others call `name`; `None` if nobody is known to.
///
/// ```
/// use rigl_graph::models::elsewhere;
/// assert_eq!(elsewhere("resnet18").as_deref(), Some("`--model resnet --set model.depth=18`"));
/// assert_eq!(elsewhere("frobnicate"), None);
/// ```
pub fn elsewhere(name: &str) -> Option<String> {
    let name: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let ours = |model: &str, keys: &[(&str, usize)]| {
        let set: String = keys.iter().map(|(key, value)| format!(" --set model.{key}={value}")).collect();
        Some(format!("`--model {model}{set}`"))
    };
    let depth_of = |before: &str, depths: &[usize]| {
        let depth = name.strip_prefix(before)?.trim_end_matches("bn").parse().ok()?;
        depths.contains(&depth).then_some(depth)
    };
    // `resnet50` is near enough to ours.
    if let Some(depth) = depth_of("resnet", &[18, 34, 101, 152]) {
        return ours("resnet", &[("depth", depth)]);
    }
    if let Some(depth) = depth_of("resnet", &[20, 32, 44, 56, 110]) {
        return ours("resnet-cifar", &[("depth", depth)]);
    }
    if let Some(depth) = depth_of("vgg", &[11, 13, 16, 19]) {
        return ours("vgg-cifar", &[("depth", depth)]);
    }
    // `wrn-28-10`, `wide_resnet_28_10`, `wideresnet2810`.
    for before in ["wrn", "wideresnet"] {
        let digits = name.strip_prefix(before).filter(|rest| rest.chars().all(|c| c.is_ascii_digit()));
        let cut = digits.and_then(|digits| digits.split_at_checked(2));
        if let Some((Ok(depth), Ok(width))) = cut.map(|(depth, width)| (depth.parse(), width.parse()))
            && depth > 4
            && width > 0
            && (depth - 4) % 6 == 0
        {
            return ours("wide-resnet", &[("depth", depth), ("width", width)]);
        }
    }
    let is_other = OTHERS.iter().any(|other| name.starts_with(other));
    is_other.then(|| {
        "there is none of that kind; docs/models.md has the networks, and how one of your own is added".into()
    })
}

/// Beginnings of names of which we have nothing.
const OTHERS: &[&str] = &[
    "alexnet",
    "bert",
    "convnext",
    "deit",
    "densenet",
    "efficientnet",
    "fasterrcnn",
    "gpt",
    "gru",
    "inception",
    "googlenet",
    "lstm",
    "maxvit",
    "mnasnet",
    "mobilenetv3",
    "regnet",
    "resnext",
    "rnn",
    "shufflenet",
    "squeezenet",
    "swin",
    "transformer",
    "unet",
    "vit",
    "wideresnet50",
    "wideresnet101",
    "xception",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ModelSpec, Models};

    #[test]
    fn names_of_torchvision_lead_to_ours_or_say_that_there_is_none() {
        for (name, ours) in [
            ("resnet18", "`--model resnet --set model.depth=18`"),
            ("ResNet-101", "`--model resnet --set model.depth=101`"),
            ("resnet56", "`--model resnet-cifar --set model.depth=56`"),
            ("vgg16_bn", "`--model vgg-cifar --set model.depth=16`"),
            ("wrn_28_10", "`--model wide-resnet --set model.depth=28 --set model.width=10`"),
        ] {
            assert_eq!(elsewhere(name).as_deref(), Some(ours), "{name}");
            let words: Vec<&str> = ours.trim_matches('`').split(' ').collect();
            let mut spec = ModelSpec::new(&[3, 32, 32], 10);
            for setting in words[2..].chunks(2) {
                let (key, value) =
                    setting[1].strip_prefix("model.").and_then(|text| text.split_once('=')).unwrap();
                spec = match key {
                    "width" => spec.with(key, value.parse::<f64>().unwrap()),
                    _ => spec.with(key, value.parse::<usize>().unwrap()),
                };
            }
            Models::default().build(words[1], &spec).unwrap();
        }
        for name in ["alexnet", "vit_b_16", "mobilenet_v3_large", "wide_resnet50_2", "resnext50_32x4d"] {
            assert!(elsewhere(name).unwrap().starts_with("there is none"), "{name}");
        }
        for name in [
            "",
            "resnet",
            "resnet19",
            "resnet50",
            "mobilenet_v2",
            "vgg",
            "lenet",
            "wrn",
            "wideresnet",
            "wide-resnet",
            "wide-resnett",
            "wrn-28-0",
        ] {
            assert_eq!(elsewhere(name), None, "{name}");
        }
    }
}
