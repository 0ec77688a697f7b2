//! TensorBoard's event files: protobuf messages in TFRecord frames.
//!
//! The formats are those of TensorFlow's `core/lib/io/record_writer`, `core/util/event.proto` and
//! `core/framework/summary.proto`. Only the few fields of scalars are written, so the two messages are spelled out.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::record::Record;

/// An event file that is being written. TensorBoard finds it by the `tfevents` in its name.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Starts a new event file in `folder`. TensorBoard reads a folder's files in the order of their names, so a later
    /// one has a later time in it.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let mut seconds = now().as_secs();
        let (path, file) = loop {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.orion"));
            match File::create_new(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => seconds += 1,
                file => break (path, file?),
            }
        };
        let mut events = Self { path, file };
        // `brain.Event:2` is the version from which readers heed a restart.
        events.append(&Message::event(0).bytes(3, b"brain.Event:2"))?;
        Ok(events)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the run continues at `step`: readers drop what earlier files say of this step and later ones.
    pub(super) fn restart(&mut self, step: u64) -> io::Result<()> {
        const START: u64 = 1;
        let session_log = Message::default().varint(1, START);
        self.append(&Message::event(step).bytes(7, &session_log.0))
    }

    /// Writes the scalars of a record as one event.
    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        let scalars = match record {
            Record::Step(metrics) => vec![
                ("loss/train", metrics.loss),
                ("learning_rate", metrics.learning_rate as f32),
                ("gradient_norm", metrics.gradient_norm as f32),
                ("tokens_per_second", metrics.tokens_per_second as f32),
            ],
            Record::Validation(metrics) => vec![("loss/validation", metrics.validation_loss)],
        };
        let summary = scalars.iter().fold(Message::default(), |summary, &(tag, value)| {
            summary.bytes(1, &Message::default().bytes(1, tag.as_bytes()).float(2, value).0)
        });
        self.append(&Message::event(record.step()).bytes(5, &summary.0))
    }

    fn append(&mut self, message: &Message) -> io::Result<()> {
        self.file.write_all(&frame(&message.0))
    }
}

/// A TFRecord: length, its checksum, the message, its checksum.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut frame = length.to_vec();
    frame.extend(masked_crc32c(&length).to_le_bytes());
    frame.extend(message);
    frame.extend(masked_crc32c(message).to_le_bytes());
    frame
}

fn now() -> std::time::Duration {
    // A clock before 1970 is as good as none.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The checksum of frames: a plain one over data that holds checksums itself would be weak, so it is rotated and shifted.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C (RFC 3720), a bit at a time: an event is some hundred bytes, a few a second.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL * (crc & 1)))
    })
}

/// A protobuf message being put together, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// An event of now.
    fn event(step: u64) -> Self {
        Self::default().double(1, now().as_secs_f64()).varint(2, step)
    }

    fn key(mut self, field: u64, wire_type: u64) -> Self {
        self.push_varint((field << 3) | wire_type);
        self
    }

    /// A number; one of 0 is what a reader takes for a field that is not there.
    fn varint(self, field: u64, value: u64) -> Self {
        if value == 0 {
            return self;
        }
        let mut message = self.key(field, 0);
        message.push_varint(value);
        message
    }

    fn double(self, field: u64, value: f64) -> Self {
        let mut message = self.key(field, 1);
        message.0.extend(value.to_le_bytes());
        message
    }

    /// A string, bytes or a message inside of this one.
    fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        let mut message = self.key(field, 2);
        message.push_varint(bytes.len() as u64);
        message.0.extend(bytes);
        message
    }

    fn float(self, field: u64, value: f32) -> Self {
        let mut message = self.key(field, 5);
        message.0.extend(value.to_le_bytes());
        message
    }

    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{StepMetrics, ValidationMetrics};

    /// Made by tools/golden/tensorboard_events.py with TensorBoard's own writer.
    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/tensorboard/events");

    /// Cuts a file into messages, going by their lengths.
    fn messages(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some((length, rest)) = file.split_first_chunk() {
            let length = u64::from_le_bytes(*length) as usize;
            messages.push(rest[4..4 + length].to_vec());
            file = &rest[4 + length + 4..];
        }
        messages
    }

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46DD_794E);
    }

    #[test]
    fn frames_are_those_of_tensorboards_writer() {
        let ours: Vec<u8> = messages(GOLDEN).iter().flat_map(|message| frame(message)).collect();
        assert_eq!(ours, GOLDEN);
    }

    #[test]
    fn events_are_those_of_tensorboard_but_for_the_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut events = EventFile::create(folder.path()).expect("an event file");
        events.restart(300).expect("a restart");
        let step = StepMetrics {
            step: 300,
            loss: 2.5,
            smoothed_loss: 2.75,
            learning_rate: 3e-4,
            gradient_norm: 0.75,
            tokens: 614_400,
            tokens_per_second: 12_345.5,
            seconds: 50.0,
            resident_bytes: None,
        };
        events.write(&step.into()).expect("a step");
        let validation = ValidationMetrics {
            step: 300,
            validation_loss: 2.625,
            perplexity: 2.625_f64.exp(),
            tokens: 614_400,
        };
        events.write(&validation.into()).expect("a validation");
        let without_times = |file: &[u8]| {
            let mut all = messages(file);
            all.iter_mut().for_each(|message| message[1..9].fill(0));
            all
        };
        let written = std::fs::read(events.path()).expect("the file");
        assert_eq!(without_times(&written), without_times(GOLDEN));
    }

    #[test]
    fn files_of_the_same_second_have_names_in_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [first, second, third] =
            [(); 3].map(|()| EventFile::create(folder.path()).expect("an event file").path);
        assert!(first < second && second < third, "{first:?} {second:?} {third:?}");
    }
}
