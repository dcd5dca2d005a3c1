//! The messages inside event files, as far as they are written here.
//!
//! Names, field numbers and types are those of TensorFlow's public schema. What a message does not
//! name is passed over when it is read.

use std::collections::BTreeMap;

use flow::reports::Histogram;

/// One record of an event file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// When it was written, in seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// The step it belongs to.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What it says.
    #[prost(oneof = "What", tags = "3, 4, 5, 7, 9")]
    pub what: Option<What>,
}

/// What an [`Event`] says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    /// The format, in the first record of a file: [`FILE_VERSION`].
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// A [`GraphDef`], encoded.
    #[prost(bytes = "vec", tag = "4")]
    Graph(Vec<u8>),
    /// Values.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// Where a session began or ended.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
    /// A graph with signatures, encoded; never written here.
    #[prost(bytes = "vec", tag = "9")]
    MetaGraph(Vec<u8>),
}

/// The format's version.
pub const FILE_VERSION: &str = "brain.Event:2";

/// Values of one step.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// One value of a [`Summary`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// Its name; slashes make groups.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Which page shows it, where the value does not say it.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<SummaryMetadata>,
    /// The value.
    #[prost(oneof = "Content", tags = "2, 4, 5, 8")]
    pub content: Option<Content>,
}

/// What a [`Value`] holds.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Content {
    /// A number.
    #[prost(float, tag = "2")]
    Scalar(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Image(Image),
    /// A distribution.
    #[prost(message, tag = "5")]
    Histogram(HistogramProto),
    /// Anything else, shown by the page that the metadata names.
    #[prost(message, tag = "8")]
    Tensor(TensorProto),
}

/// How a value is shown.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SummaryMetadata {
    /// Whose it is.
    #[prost(message, optional, tag = "1")]
    pub plugin_data: Option<PluginData>,
    /// What the values are.
    #[prost(enumeration = "DataClass", tag = "4")]
    pub data_class: i32,
}

/// The page that shows a value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PluginData {
    /// The page's name: `text`.
    #[prost(string, tag = "1")]
    pub plugin_name: String,
    /// What the page wants to know beside.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// What the values of a tag are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DataClass {
    /// Not said.
    Unknown = 0,
    /// Numbers.
    Scalar = 1,
    /// Tensors.
    Tensor = 2,
    /// Runs of bytes.
    BlobSequence = 3,
}

/// A picture.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Image {
    /// Pixels from top to bottom.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Pixels from left to right.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// Channels: 1 for grey, 3 for red, green, blue.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// The picture's file, as PNG.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded_image_string: Vec<u8>,
}

/// A distribution in buckets.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistogramProto {
    /// The smallest value.
    #[prost(double, tag = "1")]
    pub min: f64,
    /// The largest value.
    #[prost(double, tag = "2")]
    pub max: f64,
    /// How many values.
    #[prost(double, tag = "3")]
    pub num: f64,
    /// Their sum.
    #[prost(double, tag = "4")]
    pub sum: f64,
    /// The sum of their squares.
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    /// The right end of each bucket, rising; a bucket begins where the one before ends.
    #[prost(double, repeated, tag = "6")]
    pub bucket_limit: Vec<f64>,
    /// The values in each bucket.
    #[prost(double, repeated, tag = "7")]
    pub bucket: Vec<f64>,
}

/// A tensor of strings: no other is written here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorProto {
    /// The element type.
    #[prost(enumeration = "DataType", tag = "1")]
    pub dtype: i32,
    /// The sizes.
    #[prost(message, optional, tag = "2")]
    pub tensor_shape: Option<TensorShapeProto>,
    /// The elements.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub string_val: Vec<Vec<u8>>,
}

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// Not said.
    Invalid = 0,
    /// Text or bytes.
    String = 7,
}

/// The sizes of a tensor.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorShapeProto {
    /// One per dimension.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dim>,
}

/// One dimension.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Dim {
    /// Its size; -1 where it is not known.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// A graph of operations.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GraphDef {
    /// The operations.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeDef>,
    /// Who may read it.
    #[prost(message, optional, tag = "4")]
    pub versions: Option<VersionDef>,
}

impl From<&Histogram> for HistogramProto {
    fn from(histogram: &Histogram) -> Self {
        let buckets = histogram.buckets();
        Self {
            min: f64::from(histogram.min().unwrap_or(0.0)),
            max: f64::from(histogram.max().unwrap_or(0.0)),
            num: histogram.finite() as f64,
            sum: histogram.sum(),
            sum_squares: histogram.sum_squares(),
            bucket_limit: buckets.limits,
            bucket: buckets.counts,
        }
    }
}

impl GraphDef {
    /// Both graphs as one: a run shows a single graph.
    pub fn and(mut self, other: Self) -> Self {
        self.node.extend(other.node);
        self
    }
}

/// Versions of a graph's format.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VersionDef {
    /// The version it was written in.
    #[prost(int32, tag = "1")]
    pub producer: i32,
    /// The oldest version that can read it.
    #[prost(int32, tag = "2")]
    pub min_consumer: i32,
}

/// One operation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeDef {
    /// Its name; slashes make groups.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its kind.
    #[prost(string, tag = "2")]
    pub op: String,
    /// What it reads: `NODE`, or `NODE:2` for an output other than the first.
    #[prost(string, repeated, tag = "3")]
    pub input: Vec<String>,
    /// What else is to be known of it.
    #[prost(btree_map = "string, message", tag = "5")]
    pub attr: BTreeMap<String, AttrValue>,
}

/// A property of a node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttrValue {
    /// Its value.
    #[prost(oneof = "Attr", tags = "1, 2, 3, 4")]
    pub value: Option<Attr>,
}

/// What an [`AttrValue`] holds.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Attr {
    /// Several of a kind.
    #[prost(message, tag = "1")]
    List(AttrList),
    /// Text.
    #[prost(bytes = "vec", tag = "2")]
    Text(Vec<u8>),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Int(i64),
    /// A real number.
    #[prost(float, tag = "4")]
    Float(f32),
}

/// A list of shapes: no other list is written here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttrList {
    /// The shapes.
    #[prost(message, repeated, tag = "7")]
    pub shape: Vec<TensorShapeProto>,
}

/// Where a session began or ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionLog {
    /// Which of them.
    #[prost(enumeration = "SessionStatus", tag = "1")]
    pub status: i32,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SessionStatus {
    /// Not said.
    Unspecified = 0,
    /// It began: what was shown from this step on is void.
    Start = 1,
    /// It ended.
    Stop = 2,
    /// It wrote a checkpoint.
    Checkpoint = 3,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn fields_have_the_schemas_numbers() {
        let event = Event {
            wall_time: 1.5,
            step: 3,
            what: Some(What::Summary(Summary {
                value: vec![Value {
                    tag: "a".to_owned(),
                    metadata: None,
                    content: Some(Content::Scalar(2.0)),
                }],
            })),
        };
        let expected = [
            &[0x09][..],
            &1.5_f64.to_le_bytes(),
            &[0x10, 3, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15],
            &2.0_f32.to_le_bytes(),
        ]
        .concat();
        assert_eq!(event.encode_to_vec(), expected);
        assert_eq!(Event::decode(&expected[..]), Ok(event));
    }

    #[test]
    fn fields_that_are_not_named_are_passed_over() {
        // A log message (field 6) of two bytes, after step 7.
        let event = Event::decode(&[0x10, 7, 0x32, 2, 0x0a, 0][..]);
        assert_eq!(event, Ok(Event { step: 7, ..Event::default() }));
    }
}
