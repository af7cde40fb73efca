//! The file format of TensorBoard's events: a few messages of Protocol Buffers, written by hand after TensorFlow's
//! `event.proto`, `summary.proto` and `tensor.proto`, each framed as a record of TFRecord.

use prost::{Message, Oneof};

/// What the first event of every file says about its format.
const FILE_VERSION: &str = "brain.Event:2";

/// `SessionLog.START`: a reader forgets what earlier files told of this step and all later ones.
const START: i32 = 1;

/// `DT_STRING`.
const STRING: i32 = 7;

/// `DATA_CLASS_TENSOR`.
const TENSOR: i32 = 2;

/// Something that happened at a step.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub(super) what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// Values, each of a tag that TensorBoard has one chart or page for.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(message, optional, tag = "9")]
    metadata: Option<SummaryMetadata>,
    #[prost(oneof = "Of", tags = "2, 8")]
    of: Option<Of>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Of {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

/// A tensor of strings.
#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    strings: Vec<Vec<u8>>,
}

/// Without dimensions, the shape of a single element.
#[derive(Clone, PartialEq, Message)]
struct Shape {}

/// Which part of TensorBoard a tensor is for.
#[derive(Clone, PartialEq, Message)]
struct SummaryMetadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
    #[prost(int32, tag = "4")]
    class: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl Event {
    /// The head of a file.
    pub(super) fn version(wall_time: f64) -> Event {
        Event { wall_time, step: 0, what: Some(What::FileVersion(FILE_VERSION.into())) }
    }

    /// Makes readers forget everything from `step` on that earlier files of the folder hold.
    pub(super) fn start(wall_time: f64, step: u64) -> Event {
        let what = Some(What::SessionLog(SessionLog { status: START }));
        Event { wall_time, step: signed(step), what }
    }

    pub(super) fn summary(wall_time: f64, step: u64, values: Vec<Value>) -> Event {
        Event { wall_time, step: signed(step), what: Some(What::Summary(Summary { values })) }
    }

    /// As a record of a file.
    pub(super) fn to_record(&self) -> Vec<u8> {
        framed(&self.encode_to_vec())
    }
}

impl Value {
    pub(super) fn scalar(tag: impl Into<String>, x: f64) -> Value {
        Value { tag: tag.into(), metadata: None, of: Some(Of::Scalar(x as f32)) }
    }

    /// A text in Markdown.
    pub(super) fn text(tag: impl Into<String>, text: impl Into<String>) -> Value {
        let plugin = Some(Plugin { name: "text".into() });
        let strings = vec![text.into().into_bytes()];
        Value {
            tag: tag.into(),
            metadata: Some(SummaryMetadata { plugin, class: TENSOR }),
            of: Some(Of::Tensor(Tensor { kind: STRING, shape: Some(Shape {}), strings })),
        }
    }
}

fn signed(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

/// A record: length, checksum of the length, data, checksum of the data; all little-endian.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked_crc32c(&length).to_le_bytes());
    record.extend_from_slice(data);
    record.extend_from_slice(&masked_crc32c(data).to_le_bytes());
    record
}

/// A CRC-32C, masked so that one of data that holds checksums itself is as good.
fn masked_crc32c(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Reads the records of a file back, for tests. `Err`: where the file is damaged.
#[cfg(test)]
pub(super) fn read(mut bytes: &[u8]) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at_checked(12).ok_or("a torn head")?;
        let size = u64::from_le_bytes(length[..8].try_into().unwrap()) as usize;
        let (data, rest) = rest.split_at_checked(size + 4).ok_or("a torn record")?;
        if framed(&data[..size])[..] != [length, data].concat() {
            return Err(format!("a wrong checksum in record {}", events.len()));
        }
        events.push(Event::decode(&data[..size]).map_err(|e| e.to_string())?);
        bytes = rest;
    }
    Ok(events)
}

#[cfg(test)]
impl Event {
    /// The scalars it holds.
    pub(super) fn scalars(&self) -> Vec<(&str, f32)> {
        let scalar = |value: &'_ Value| match value.of {
            Some(Of::Scalar(x)) => Some(x),
            _ => None,
        };
        self.values().filter_map(|value| Some((value.tag.as_str(), scalar(value)?))).collect()
    }

    /// The texts it holds.
    pub(super) fn texts(&self) -> Vec<(&str, String)> {
        let text = |value: &'_ Value| match &value.of {
            Some(Of::Tensor(tensor)) => Some(String::from_utf8(tensor.strings.concat()).unwrap()),
            _ => None,
        };
        self.values().filter_map(|value| Some((value.tag.as_str(), text(value)?))).collect()
    }

    fn values(&self) -> impl Iterator<Item = &Value> {
        let values = match &self.what {
            Some(What::Summary(summary)) => &summary.values[..],
            _ => &[],
        };
        values.iter()
    }
}
