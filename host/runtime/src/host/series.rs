//! `series`

use super::convert::{
    frame_from_guest, frame_to_guest, key_from_guest, key_to_guest, rows, size_of_frame, size_of_key,
};
use super::error::{Guest, to_guest};
use super::units;
use crate::bindings::shiphold::host::series::{Host, HostScan, SeriesInfo};
use crate::bindings::shiphold::host::types::{
    Frame as GuestFrame, SeriesKey as GuestKey, TimeRange as GuestRange,
};
use crate::state::State;
use shiphold_storage::series::{Frame, FrameStream, Selector, TimeRange, WriteBatch};
use shiphold_storage::{Error, Result};
use wasmtime::component::Resource;

/// Series of one list.
const LIST_MAX: usize = 10_000;
/// Rows of one frame that crosses into a guest.
const ROWS_MAX: usize = 65_536;

fn size_of_info(s: &SeriesInfo) -> usize {
    size_of::<SeriesInfo>()
        + size_of_key(&s.key)
        + s.fields.iter().map(|f| f.len() + size_of::<String>()).sum::<usize>()
}

/// A read under way.
pub struct Scan {
    stream: Option<FrameStream>,
    /// Rows that came and were not taken yet, and how many of them were.
    pending: Option<(Frame, usize)>,
}

impl Host for State {
    async fn list(
        &mut self,
        bucket: String,
        measurement: String,
        after: Option<GuestKey>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<SeriesInfo>, Guest>> {
        self.takes(bucket.len() + measurement.len() + after.as_ref().map_or(0, size_of_key))?;
        let listed: Result<Vec<SeriesInfo>> = self
            .blocking(move |layer, caller, _| {
                let after = after.map(key_from_guest).transpose()?;
                let all = layer.series().list(
                    caller,
                    &Selector { bucket: Some(bucket), measurement: Some(measurement), tags: Vec::new() },
                )?;
                Ok(all
                    .into_iter()
                    .filter(|s| after.as_ref().is_none_or(|a| s.key > *a))
                    .take(LIST_MAX.min(limit as usize))
                    .map(|s| SeriesInfo {
                        key: key_to_guest(&s.key),
                        fields: s.fields.into_iter().map(|(name, _)| name).collect(),
                        rows: s.rows,
                        first: s.min_time,
                        last: s.max_time,
                    })
                    .collect())
            })
            .await?;
        self.gives(listed.as_ref().map_or(0, |all| all.iter().map(size_of_info).sum()))?;
        Ok(listed.map_err(|e| to_guest(&e)))
    }

    async fn open_scan(
        &mut self,
        key: GuestKey,
        range: GuestRange,
        fields: Vec<String>,
    ) -> wasmtime::Result<Result<Resource<Scan>, Guest>> {
        self.takes(size_of_key(&key) + fields.iter().map(|f| f.len() + size_of::<String>()).sum::<usize>())?;
        let opened = self
            .blocking(move |layer, caller, budget| {
                let key = key_from_guest(key)?;
                let range = TimeRange::new(range.start, range.end)?;
                let (fields, wanted) = units::fields(fields, &|field| layer.series().scale(&key, field))?;
                let fields = (!fields.is_empty()).then_some(fields.as_slice());
                let stream = layer.series().scan(caller, &key, range, fields, budget)?;
                Ok(units::with_units(stream, wanted))
            })
            .await?;
        match opened {
            Ok(stream) => Ok(Ok(self.hold(Scan { stream: Some(stream), pending: None })?)),
            Err(e) => Ok(Err(to_guest(&e))),
        }
    }

    async fn write(&mut self, key: GuestKey, frame: GuestFrame) -> wasmtime::Result<Result<u64, Guest>> {
        self.takes(size_of_key(&key) + size_of_frame(&frame))?;
        if let Err(e) = self.may_write() {
            return Ok(Err(to_guest(&e)));
        }
        let written = self
            .blocking(move |layer, caller, _| {
                let (key, mut frame) = (key_from_guest(key)?, frame_from_guest(frame)?);
                units::from_units(&mut frame, &|field| layer.series().scale(&key, field))?;
                let batch = WriteBatch { series: vec![(key, frame)] };
                let report = layer.series().write(caller, batch)?;
                match report.conflicts.first() {
                    None => Ok(report.written),
                    Some(c) => {
                        let value = c.value.as_ref().map_or_else(String::new, |v| format!(" (`{v}`)"));
                        Err(Error::conflict(format!(
                            "{} rows were refused: `{}` is a {}, not a {}{value}",
                            report.dropped, c.field, c.have, c.got
                        )))
                    }
                }
            })
            .await?;
        Ok(written.map_err(|e| to_guest(&e)))
    }
}

impl HostScan for State {
    async fn next(
        &mut self,
        scan: Resource<Scan>,
        rows_max: u32,
    ) -> wasmtime::Result<Result<Option<GuestFrame>, Guest>> {
        let wanted = (rows_max as usize).clamp(1, ROWS_MAX);
        let s = self.table.get_mut(&scan)?;
        if s.pending.is_none() {
            let Some(mut stream) = s.stream.take() else { return Ok(Ok(None)) };
            let (stream, next) = match self
                .blocking(move |_, _, _| {
                    let next = stream.find(|f| f.as_ref().map_or(true, |f| !f.is_empty())).transpose();
                    Ok((stream, next))
                })
                .await?
            {
                Ok(pair) => pair,
                Err(e) => return Ok(Err(to_guest(&e))),
            };
            let s = self.table.get_mut(&scan)?;
            match next {
                Ok(Some(frame)) => {
                    s.stream = Some(stream);
                    s.pending = Some((frame, 0));
                }
                Ok(None) => return Ok(Ok(None)),
                Err(e) => return Ok(Err(to_guest(&e))),
            }
        }
        let s = self.table.get_mut(&scan)?;
        let Some((frame, from)) = s.pending.take() else { return Ok(Ok(None)) };
        let to = from.saturating_add(wanted).min(frame.len());
        let part = if from == 0 && to == frame.len() {
            Ok(frame)
        } else {
            let part = rows(&frame, from, to);
            if to < frame.len() {
                s.pending = Some((frame, to));
            }
            part
        };
        let part = part.map(frame_to_guest);
        self.gives(part.as_ref().map_or(0, size_of_frame))?;
        Ok(part.map(Some).map_err(|e| to_guest(&e)))
    }

    async fn drop(&mut self, scan: Resource<Scan>) -> wasmtime::Result<()> {
        self.table.delete(scan)?;
        Ok(())
    }
}
