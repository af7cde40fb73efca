//! The text form of a graph: what checkpoints store and `inspect` shows. A line names the network, then each
//! node has one line, in order:
//!
//! ```text
//! network lenet-300-100
//! image = input() -> [1, 28, 28]
//! flatten = flatten(image) -> [784]
//! fc1 = linear(flatten) features=300 bias=true init=glorot-uniform -> [300]
//! ```
//!
//! A network without a loss ends with the line `outputs(NAME, …)`.
//!
//! Parsing rebuilds the graph through the same function as the builder, and compares the shapes. Text may come
//! from anywhere: work and memory are bounded by its length, and its length by [`MAX_TEXT`].

use std::fmt;

use rigl_base::{Error, Result};

use crate::builder::Draft;
use crate::graph::Graph;
use crate::op::Op;
use crate::parameter::NodeId;
use crate::words::{Attributes, MAX_ITEMS, clip, read_shape, shape_text};

/// The longest text that is parsed, in bytes.
pub const MAX_TEXT: usize = 16 << 20;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "network {}", self.name)?;
        for node in &self.nodes {
            let inputs: Vec<&str> = node.inputs.iter().map(|&i| self.node(i).name.as_str()).collect();
            write!(f, "{} = {}({})", node.name, node.op.word(), inputs.join(", "))?;
            for (key, value) in node.op.attributes() {
                write!(f, " {key}={value}")?;
            }
            writeln!(f, " -> {}", shape_text(&node.shape))?;
        }
        if self.loss.is_none() {
            let outputs: Vec<&str> = self.outputs.iter().map(|&id| self.node(id).name.as_str()).collect();
            writeln!(f, "outputs({})", outputs.join(", "))?;
        }
        Ok(())
    }
}

impl Graph {
    /// The text form; [`Graph::parse`] reads it back.
    pub fn to_text(&self) -> String {
        self.to_string()
    }

    /// The graph of a text form. Blank lines are skipped.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data), naming the line (the last one if something is missing), what was
    /// found and what was expected.
    pub fn parse(text: &str) -> Result<Graph> {
        if text.len() > MAX_TEXT {
            return Err(Error::data(format!(
                "graph: {} bytes of text, at most {MAX_TEXT} are read",
                text.len()
            )));
        }
        let mut number = 1;
        parse(text, &mut number).map_err(|e| Error::data(format!("graph: line {number}: {e}")))
    }
}

/// `number` is the line at which parsing stopped.
fn parse(text: &str, number: &mut usize) -> Result<Graph, String> {
    let mut draft: Option<Draft> = None;
    for (i, line) in text.lines().enumerate() {
        *number = i + 1;
        let line = line.trim();
        match &mut draft {
            _ if line.is_empty() => {}
            Some(draft) if !draft.outputs.is_empty() => {
                return Err(format!("expected nothing after `outputs`, found `{}`", clip(line)));
            }
            Some(draft) => match line.strip_prefix("outputs(") {
                Some(rest) => outputs(rest, draft)?,
                None => node(line, draft)?,
            },
            None => {
                let name = line
                    .strip_prefix("network ")
                    .ok_or_else(|| format!("expected `network NAME`, found `{}`", clip(line)))?;
                draft = Some(Draft::new(name.trim()));
            }
        }
    }
    draft.ok_or("expected `network NAME`, found nothing")?.finish()
}

/// `NAME = WORD(INPUTS) KEY=VALUE … -> SHAPE`
fn node(line: &str, draft: &mut Draft) -> Result<(), String> {
    let parts = || {
        let (name, rest) = line.split_once(" = ")?;
        let (rest, shape) = rest.rsplit_once(" -> ")?;
        let (word, rest) = rest.split_once('(')?;
        let (inputs, attributes) = rest.split_once(')')?;
        Some((name.trim(), word.trim(), inputs, attributes, shape))
    };
    let (name, word, inputs, attributes, shape) = parts().ok_or_else(|| {
        format!("expected `NAME = OPERATION(INPUTS) KEY=VALUE … -> [SHAPE]`, found `{}`", clip(line))
    })?;
    let shape = read_shape(shape)?;
    let ids = nodes(inputs, "inputs", draft)?;
    let mut attributes = Attributes::read(attributes)?;
    let op = Op::read(word, &mut attributes, &shape)?;
    attributes.finish(op.word())?;
    let id = draft.push(name, op, &ids)?;
    if !draft.has_shape(id, &shape) {
        let computed = draft.shape_text(id);
        return Err(format!("node `{name}`: expects shape {computed}, found {}", shape_text(&shape)));
    }
    Ok(())
}

/// `NAME, …)`
fn outputs(rest: &str, draft: &mut Draft) -> Result<(), String> {
    let names = rest.strip_suffix(')').filter(|names| !names.trim().is_empty());
    let names =
        names.ok_or_else(|| format!("expected `outputs(NAME, …)`, found `outputs({}`", clip(rest)))?;
    draft.outputs = nodes(names, "outputs", draft)?;
    Ok(())
}

/// Earlier nodes by a list of their names.
fn nodes(names: &str, what: &str, draft: &Draft) -> Result<Vec<NodeId>, String> {
    let mut ids = vec![];
    for name in names.split(',').map(str::trim).filter(|_| !names.trim().is_empty()) {
        let id = draft.find(name).ok_or_else(|| format!("no earlier node is called `{}`", clip(name)))?;
        if ids.len() == MAX_ITEMS {
            return Err(format!("more than {MAX_ITEMS} {what}"));
        }
        ids.push(id);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{BatchNorm, Builder, Conv2d, Linear, Pool};
    use crate::init::Init;
    use crate::models::{ModelSpec, Models};
    use proptest::prelude::*;
    use rigl_base::Kind;

    const LENET: &str = "\
network lenet-300-100
image = input() -> [1, 28, 28]
flatten = flatten(image) -> [784]
fc1 = linear(flatten) features=300 bias=true init=glorot-uniform -> [300]
relu = relu(fc1) -> [300]
fc2 = linear(relu) features=100 bias=true init=glorot-uniform -> [100]
relu2 = relu(fc2) -> [100]
fc3 = linear(relu2) features=10 bias=true init=glorot-uniform -> [10]
loss = cross-entropy(fc3) classes=10 label-smoothing=0.1 -> []
";

    const SMALL: &str = "\
network small
image = input() -> [3, 8, 8]
conv1 = conv2d(image) channels=4 kernel=3 stride=2 padding=1 groups=1 bias=false init=he-normal -> [4, 4, 4]
bn1 = batch-norm(conv1) epsilon=1e-5 momentum=0.1 scale=0.0 -> [4, 4, 4]
relu = relu(bn1) -> [4, 4, 4]
dropout = dropout(relu) probability=0.3 -> [4, 4, 4]
conv2 = conv2d(dropout) channels=4 kernel=1 stride=1 padding=0 groups=4 bias=true init=glorot-uniform -> [4, 4, 4]
add = add(conv1, conv2) -> [4, 4, 4]
max-pool = max-pool(add) kernel=3 stride=2 padding=1 -> [4, 2, 2]
avg-pool = avg-pool(max-pool) kernel=2 stride=1 padding=0 -> [4, 1, 1]
global-avg-pool = global-avg-pool(avg-pool) -> [4]
loss = cross-entropy(global-avg-pool) classes=4 label-smoothing=0.0 -> []
";

    fn small() -> Graph {
        let mut g = Builder::new("small");
        let x = g.input("image", &[3, 8, 8]);
        let h = g.conv2d("conv1", x, 4, Conv2d::k3().stride(2).init(Init::HeNormal));
        let r = g.batch_norm("bn1", h, BatchNorm::default().scale(0.0));
        let r = g.relu(r);
        let r = g.dropout(r, 0.3);
        let r = g.conv2d("conv2", r, 4, Conv2d::k1().groups(4).bias());
        let h = g.add(h, r);
        let h = g.max_pool(h, Pool::k(3).stride(2).padding(1));
        let h = g.avg_pool(h, Pool::k(2).stride(1));
        let h = g.global_avg_pool(h);
        g.cross_entropy(h, 4, 0.0);
        g.finish().unwrap()
    }

    #[test]
    fn the_text_form_of_every_other_operation_is_fixed() {
        assert_eq!(small().to_text(), SMALL);
        assert_eq!(Graph::parse(SMALL).unwrap(), small());
        for (from, to, message) in [
            (
                "kernel=3 stride=2 padding=1 groups",
                "kernel=2 stride=2 padding=1 groups",
                "the kernel must be odd",
            ),
            ("add(conv1, conv2)", "add(image, conv2)", "found [3, 8, 8] and [4, 4, 4]"),
            ("add(conv1, conv2)", "add(conv1)", "inputs must be 2, found 1"),
            ("momentum=0.1", "momentum=2", "momentum must be above 0 and at most 1, found 2"),
            ("scale=0.0", "scale=constant", "attribute `scale` must be a number"),
            ("init=he-normal", "init=constant(nan)", "the value of `constant` must be finite"),
            ("-> [4, 2, 2]", "-> [4, 3, 2]", "expects shape [4, 2, 2], found [4, 3, 2]"),
        ] {
            assert!(SMALL.contains(from), "{from}");
            let error = Graph::parse(&SMALL.replacen(from, to, 1)).expect_err(message);
            assert!(error.message().contains(message), "{error}");
        }
    }

    fn lenet() -> Graph {
        let spec = ModelSpec { label_smoothing: 0.1, ..ModelSpec::new(&[1, 28, 28], 10) };
        Models::default().build("lenet-300-100", &spec).unwrap()
    }

    #[test]
    fn the_text_form_is_fixed() {
        assert_eq!(lenet().to_text(), LENET);
        assert_eq!(Graph::parse(LENET).unwrap(), lenet());
        let spaced = LENET.replace('\n', "\r\n\r\n").replace(", ", " ,");
        assert_eq!(Graph::parse(&spaced).unwrap(), lenet());
    }

    const HEADS: &str = "\
network heads
image = input() -> [4]
fc1 = linear(image) features=3 bias=true init=glorot-uniform -> [3]
relu = relu(fc1) -> [3]
fc2 = linear(relu) features=2 bias=true init=glorot-uniform -> [2]
outputs(fc2, relu)
";

    /// A network without a loss that says what its hidden layer does too.
    fn heads() -> Graph {
        let mut g = Builder::new("heads");
        let x = g.input("image", &[4]);
        let h = g.linear("fc1", x, 3, Linear::default());
        let h = g.relu(h);
        let y = g.linear("fc2", h, 2, Linear::default());
        g.outputs(&[y, h]);
        g.finish().unwrap()
    }

    #[test]
    fn a_network_without_a_loss_ends_with_its_outputs() {
        assert_eq!(heads().to_text(), HEADS);
        assert_eq!(Graph::parse(HEADS).unwrap(), heads());
        assert_eq!(Graph::parse(&HEADS.replace("fc2, relu", " fc2,relu ")).unwrap(), heads());
        for end in 0..HEADS.trim_end().len() {
            assert!(Graph::parse(&HEADS[..end]).is_err(), "{end}");
        }
        let many = ["relu"; 65].join(", ");
        for (from, to, message) in [
            ("outputs(fc2, relu)\n", "", "line 5: there is no loss; end the network with"),
            ("outputs(fc2, relu)", "outputs()", "line 6: expected `outputs(NAME, …)`, found `outputs()`"),
            ("outputs(fc2, relu)", "outputs(fc2", "line 6: expected `outputs(NAME, …)`, found `outputs(fc2`"),
            ("(fc2, relu)", "(fc3)", "line 6: no earlier node is called `fc3`"),
            ("(fc2, relu)", "(fc2,)", "line 6: no earlier node is called ``"),
            ("(fc2, relu)", "(relu)", "line 6: node `fc2` is read by no other node"),
            ("(fc2, relu)", "(fc2, fc2)", "line 6: the output `fc2` is named twice"),
            ("(fc2, relu)", "(fc2, image)", "line 6: the output `image` is an input"),
            ("fc2, relu", &many, "line 6: more than 64 outputs"),
            (
                "relu)\n",
                "relu)\noutputs(fc2)",
                "line 7: expected nothing after `outputs`, found `outputs(fc2)`",
            ),
            (
                "outputs",
                "loss = cross-entropy(fc2) classes=2 label-smoothing=0 -> []\noutputs",
                "line 7: it has the loss `loss` and `outputs`, expected one of the two",
            ),
        ] {
            assert!(HEADS.contains(from), "{from}");
            let at = HEADS.rfind(from).unwrap();
            let text = format!("{}{to}{}", &HEADS[..at], &HEADS[at + from.len()..]);
            let error = Graph::parse(&text).expect_err(message);
            assert!(error.message().contains(message), "{error}");
        }
    }

    #[test]
    fn errors_name_the_line_and_what_was_found() {
        let cases = [
            ("network lenet-300-100", "layer x", "line 1: expected `network NAME`, found `layer x`"),
            ("network lenet-300-100", "network a b", "line 9: network name `a b`"),
            (" -> [784]", "", "line 3: expected `NAME = OPERATION"),
            ("-> [784]", "-> 784", "line 3: expected a shape"),
            ("-> [784]", "-> [785]", "line 3: node `flatten`: expects shape [784], found [785]"),
            ("-> [1, 28, 28]", "-> [1, 28, x]", "line 2: expected a shape"),
            ("-> [1, 28, 28]", "-> [1, 28, -28]", "line 2: expected a shape"),
            ("-> [1, 28, 28]", "-> [1, 28, 99999999999999999999]", "line 2: expected a shape"),
            ("-> [1, 28, 28]", "-> [65536, 65536, 65536, 65536, 2]", "line 2: node `image`: input: an array"),
            (
                "-> [1, 28, 28]",
                "-> [1,1,1,1,1,1,1,1,1,1,1]",
                "line 2: a shape has at most 8 dimensions, found 11",
            ),
            ("linear(flatten)", "linear(flat)", "line 4: no earlier node is called `flat`"),
            ("linear(flatten)", "linear(fc2)", "line 4: no earlier node is called `fc2`"),
            (
                "linear(flatten)",
                "linear(flatten, image)",
                "line 4: node `fc1`: linear: the number of inputs must be 1",
            ),
            (
                "linear(flatten)",
                "linear()",
                "line 4: node `fc1`: linear: the number of inputs must be 1, found 0",
            ),
            ("linear(flatten)", "linear(image)", "expects a vector [n], found [1, 28, 28]"),
            ("linear(flatten)", "conv9d(flatten)", "line 4: unknown operation `conv9d`"),
            ("features=300 ", "", "line 4: attribute `features` is missing"),
            ("features=300", "features=300 features=300", "line 4: attribute `features` is given twice"),
            (
                "features=300",
                "features=-1",
                "line 4: attribute `features` must be a whole number, found `-1`",
            ),
            ("features=300", "features=4000000000", "line 4: node `fc1`: linear: an array"),
            ("features=300", "features=301", "line 4: node `fc1`: expects shape [301], found [300]"),
            ("bias=true", "bias=1", "line 4: attribute `bias` must be `true` or `false`, found `1`"),
            ("bias=true", "bias=true groups=2", "line 4: `linear` has no attribute `groups`"),
            ("bias=true", "bias", "line 4: expected `KEY=VALUE`, found `bias`"),
            ("init=glorot-uniform", "init=he", "line 4: attribute `init` must be `zeros`"),
            ("init=glorot-uniform", "init=normal(inf)", "line 4: node `fc1`: linear: the deviation"),
            (
                "label-smoothing=0.1",
                "label-smoothing=nan",
                "line 9: node `loss`: cross-entropy: label smoothing",
            ),
            (
                "classes=10",
                "classes=11",
                "line 9: node `loss`: cross-entropy: expects one logit per class, 11",
            ),
            ("loss = ", "loss2 = loss = ", "line 9: unknown operation `loss = cross-entropy`"),
            ("fc2 =", "fc1 =", "line 6: node `fc1`: linear: the name is taken"),
            ("fc2 =", "f/c2 =", "line 6: node name `f/c2`"),
            ("fc2 =", "f\u{1b}c2 =", "line 6: node name `f\\u{1b}c2`"),
            (&LENET[LENET.find("loss").unwrap()..], "", "line 8: there is no loss"),
            (LENET, "", "line 1: expected `network NAME`, found nothing"),
        ];
        for (from, to, message) in cases {
            assert!(LENET.contains(from), "{from}");
            let error = Graph::parse(&LENET.replacen(from, to, 1)).expect_err(message);
            assert_eq!(error.kind(), Kind::Data);
            assert!(
                error.message().starts_with("graph: line ") && error.message().contains(message),
                "{error}"
            );
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for end in 0..LENET.len() - " -> []\n".len() {
            assert!(Graph::parse(&LENET[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn huge_texts_are_refused_or_answered_quickly() {
        let error = Graph::parse(&" ".repeat(MAX_TEXT + 1)).unwrap_err();
        assert!(error.message().contains("at most"), "{error}");
        let head = "network n\nx = input() -> [4]\n";
        let many: String = (0..70_000).map(|i| format!("i{i} = input() -> [4]\n")).collect();
        let inputs = "x, ".repeat(1_000_000);
        let attributes = (0..1_000_000).map(|i| format!("k{i}=1 ")).collect::<String>();
        let deep = "[".repeat(5_000_000);
        let texts = [
            (format!("network n\n{many}"), "more than 65536 nodes"),
            (format!("{head}h = relu({inputs}x) -> [4]"), "more than 64 inputs"),
            (format!("{head}h = relu(x) {attributes} -> [4]"), "more than 64 attributes"),
            (format!("{head}h = relu(x) -> {deep}"), "expected a shape"),
            (format!("{head}h = relu(x) -> [{}]", "1, ".repeat(1_000_000)), "found 1000001"),
            (format!("network {}", "n".repeat(10_000_000)), "there is no loss"),
        ];
        for (text, message) in texts {
            let error = Graph::parse(&text).unwrap_err();
            assert!(error.message().contains(message), "{error}");
            assert!(error.message().len() < 400);
        }
    }

    fn any_init() -> impl Strategy<Value = Init> {
        prop_oneof![
            Just(Init::Zeros),
            Just(Init::GlorotUniform),
            Just(Init::TruncatedNormal),
            Just(Init::HeNormal),
            (-1e300f64..1e300).prop_map(Init::Constant),
            (1e-300f64..1e300).prop_map(Init::Normal),
            (0.0f64..1.0).prop_filter_map("positive", |d| (d > 0.0).then_some(Init::Normal(d))),
        ]
    }

    prop_compose! {
        fn any_graph()(
            name in "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}",
            shape in prop::collection::vec(1usize..6, 1..5),
            layers in prop::collection::vec((1usize..500, any::<bool>(), any_init(), 0usize..3), 0..8),
            blocks in prop::collection::vec((1usize..9, 0usize..3, 1usize..4, any::<bool>(), any_init(), 0.0f32..1.0), 0..4),
            (channels, side) in (1usize..5, 1usize..9),
            classes in 2usize..20,
            label_smoothing in 0.0f32..1.0, loss in any::<bool>(),
        ) -> Graph {
            let mut g = Builder::new(&name);
            let mut h = if blocks.is_empty() { g.input("image", &shape) } else { g.input("image", &[channels, side, side]) };
            for (i, &(channels, half, stride, bias, init, number)) in blocks.iter().enumerate() {
                let conv = Conv2d { bias, ..Conv2d::k(2 * half + 1).stride(stride).init(init) };
                h = g.conv2d(&format!("conv{i}"), h, channels, conv);
                let norm = BatchNorm { epsilon: number + 1e-9, momentum: 1.0 - number, scale: number };
                let r = g.batch_norm(&format!("bn{i}"), h, norm);
                let r = g.dropout(r, number);
                let r = if bias { g.leaky_relu(r, number) } else { g.sigmoid(r) };
                h = if stride > 1 { g.multiply(h, r) } else { g.add(h, r) };
                h = if bias { g.max_pool(h, Pool::k(3).padding(1)) } else { g.avg_pool(h, Pool::k(1)) };
            }
            h = if label_smoothing > 0.5 && !blocks.is_empty() { g.global_avg_pool(h) } else { g.flatten(h) };
            for (i, &(features, bias, init, relus)) in layers.iter().enumerate() {
                h = g.linear(&format!("layer{i}.0.fc"), h, features, Linear { bias, init });
                for _ in 0..relus {
                    h = g.relu(h);
                }
            }
            let before = h;
            let h = g.linear("fc", h, classes, Linear::default().no_bias());
            match loss {
                true => _ = g.cross_entropy(h, classes, label_smoothing),
                false if layers.is_empty() => g.outputs(&[h]),
                false => g.outputs(&[before, h]),
            }
            g.finish().unwrap()
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_give_the_same_graph(graph in any_graph()) {
            graph.verify().unwrap();
            prop_assert_eq!(Graph::parse(&graph.to_text()).unwrap(), graph);
        }

        #[test]
        fn damaged_text_is_an_error_or_a_valid_graph(
            graph in any_graph(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, "[ =(),\\[\\]>a-z0-9\n.-]{0,6}"), 1..4),
        ) {
            let mut text = graph.to_text();
            for (place, len, new) in edits {
                let start = place.index(text.len());
                let end = (start + len).min(text.len());
                text.replace_range(start..end, &new);
                if text.is_empty() { break; }
            }
            match Graph::parse(&text) {
                Ok(graph) => {
                    graph.verify().unwrap();
                    prop_assert_eq!(Graph::parse(&graph.to_text()).unwrap(), graph);
                }
                Err(e) => prop_assert!(e.message().starts_with("graph: line "), "{}", e),
            }
        }

        #[test]
        fn any_text_is_answered_with_an_error(text in "\\PC*|[a-z=()\\[\\]\n >-]*") {
            prop_assert_eq!(Graph::parse(&text).unwrap_err().kind(), Kind::Data);
        }

        #[test]
        fn any_lines_after_a_good_head_are_answered(lines in prop::collection::vec("[a-c] = (relu|sigmoid|leaky-relu|linear|flatten|input|conv2d|add|multiply|batch-norm)\\([a-cx, ]{0,5}\\)( features=[0-9]{1,22})?( bias=true init=zeros)? -> \\[[0-9, ]{0,24}\\]", 0..6)) {
            let text = format!("network n\nx = input() -> [4]\n{}", lines.join("\n"));
            prop_assert!(Graph::parse(&text).is_err());
        }
    }
}
