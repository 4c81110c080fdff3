//! Room for the bodies of requests. Whoever can reach the port may begin any number of them and finish none: room is taken as bytes
//! arrive, and where none is left, the oldest that is still on its way makes room.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The longest body: the API server's own limit for an object is 3 MiB, and a review of an update holds two.
pub const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// How long a body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a body waits for room; the API server itself waits 5 s for the answer.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a body may take to arrive while another waits for its room: an honest one takes milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often one that waits looks for such a one.
const LOOK: Duration = Duration::from_millis(50);
/// Memory for bodies at once, in units.
const UNITS: usize = 256;
/// Bytes in a unit, and the least that a request counts for: 256 requests at once, or 4 of the longest.
const UNIT: usize = 128 * 1024;
/// Bodies on their way at once, most of which may be empty so far.
const ARRIVING: usize = 1024;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is longer than [`BODY_LIMIT`].
    TooLong,
    /// The connection broke.
    Broken,
    /// It took too long, or another needed its room.
    Late,
    /// There was no room in time.
    NoRoom,
}

/// The room that all requests share.
#[derive(Clone)]
pub struct Room {
    units: Arc<Semaphore>,
    arriving: Arc<Mutex<Arriving>>,
}

/// Bodies on their way, by the order in which they began.
#[derive(Default)]
struct Arriving {
    begun: u64,
    bodies: BTreeMap<u64, Begun>,
}

struct Begun {
    since: Instant,
    units: usize,
    leave: CancellationToken,
}

impl Default for Room {
    fn default() -> Self {
        Room {
            units: Arc::new(Semaphore::new(UNITS)),
            arriving: Arc::default(),
        }
    }
}

impl Room {
    /// The whole body, with the room that it takes until that is dropped.
    ///
    /// # Errors
    /// Why it did not arrive.
    pub async fn collect(&self, body: Body) -> Result<(Bytes, OwnedSemaphorePermit), Missing> {
        let place = self.enter();
        tokio::select! {
            biased;
            read = timeout(BODY_TIMEOUT, self.read(body, &place)) => read.unwrap_or(Err(Missing::Late)),
            () = place.leave.cancelled() => Err(Missing::Late),
        }
    }

    fn enter(&self) -> Place<'_> {
        let leave = CancellationToken::new();
        let mut arriving = self.arriving();
        if arriving.bodies.len() >= ARRIVING
            && let Some((_, oldest)) = arriving.bodies.pop_first()
        {
            oldest.leave.cancel();
        }
        let number = arriving.begun;
        arriving.begun += 1;
        let (since, units) = (Instant::now(), 0);
        let begun = Begun {
            since,
            units,
            leave: leave.clone(),
        };
        arriving.bodies.insert(number, begun);
        Place {
            room: self,
            number,
            leave,
        }
    }

    async fn read(&self, body: Body, place: &Place<'_>) -> Result<(Bytes, OwnedSemaphorePermit), Missing> {
        let mut body = pin!(Limited::new(body, BODY_LIMIT));
        let mut whole = Whole::default();
        let mut held: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Missing::TooLong
                } else {
                    Missing::Broken
                }
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let length = whole.len() + data.len();
            let there = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let units = length.div_ceil(UNIT).max(1);
            if units > there {
                let more = self.take(units - there).await?;
                match &mut held {
                    Some(held) => held.merge(more),
                    None => held = Some(more),
                }
                place.holds(units);
            }
            whole.add(data);
        }
        let held = match held {
            Some(held) => held,
            None => self.take(1).await?,
        };
        Ok((whole.into(), held))
    }

    async fn take(&self, units: usize) -> Result<OwnedSemaphorePermit, Missing> {
        let many = u32::try_from(units).unwrap_or(u32::MAX);
        let make_room = async {
            loop {
                sleep(LOOK).await;
                self.push_out();
            }
        };
        tokio::select! {
            biased;
            taken = self.units.clone().acquire_many_owned(many) => taken.map_err(|_| Missing::NoRoom),
            () = make_room => Err(Missing::NoRoom),
            () = sleep(QUEUE_TIMEOUT) => Err(Missing::NoRoom),
        }
    }

    /// Ends the oldest that holds room and has been on its way for long.
    fn push_out(&self) {
        let mut arriving = self.arriving();
        let now = Instant::now();
        let mut holding = arriving.bodies.iter().filter(|(_, body)| body.units > 0);
        let oldest = holding.next().filter(|(_, body)| now - body.since > PATIENCE);
        let Some(number) = oldest.map(|(number, _)| *number) else {
            return;
        };
        if let Some(body) = arriving.bodies.remove(&number) {
            body.leave.cancel();
        }
    }

    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has arrived of a body. Nearly every body comes in one piece, which is not copied. Others are: kept as they come, pieces of a
/// byte would take a hundred times the room that they count for.
#[derive(Debug)]
enum Whole {
    Piece(Bytes),
    Joined(Vec<u8>),
}

impl Default for Whole {
    fn default() -> Self {
        Whole::Piece(Bytes::new())
    }
}

impl Whole {
    fn len(&self) -> usize {
        match self {
            Whole::Piece(piece) => piece.len(),
            Whole::Joined(all) => all.len(),
        }
    }

    fn add(&mut self, data: Bytes) {
        match self {
            Whole::Piece(piece) if piece.is_empty() => *piece = data,
            Whole::Piece(piece) => *self = Whole::Joined([&**piece, &*data].concat()),
            Whole::Joined(all) => {
                let length = all.len() + data.len();
                if length > all.capacity() {
                    // Twice as much each time, but never room for more than there may be.
                    let wanted = (2 * all.capacity()).min(BODY_LIMIT).max(length);
                    all.reserve_exact(wanted - all.len());
                }
                all.extend_from_slice(&data);
            }
        }
    }
}

impl From<Whole> for Bytes {
    fn from(whole: Whole) -> Self {
        match whole {
            Whole::Piece(piece) => piece,
            Whole::Joined(all) => all.into(),
        }
    }
}

/// One body's place among those on their way, until it is whole.
struct Place<'a> {
    room: &'a Room,
    number: u64,
    leave: CancellationToken,
}

impl Place<'_> {
    fn holds(&self, units: usize) {
        if let Some(body) = self.room.arriving().bodies.get_mut(&self.number) {
            body.units = units;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.arriving().bodies.remove(&self.number);
    }
}
