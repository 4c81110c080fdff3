//! Tokens that are not in memory are asked for at the API server. Anyone may make pods that name any number of Tokens which do not
//! exist, again and again: that must neither keep the API server busy nor hold up who asks for a Token that was just made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{TokenRecord, Tokens};
use crate::domain::intent::Key;

/// How long an answer may take, with the wait for a turn.
const LOOK: Duration = Duration::from_secs(1);
/// How long an answer counts from when it was asked for, unless the watch tells of the Token before.
const FRESH: Duration = Duration::from_secs(1);
/// How long the watch is given to tell of a Token that was made after it was asked for.
const MOMENT: Duration = Duration::from_millis(100);
/// Tokens that are asked for at once: as many as one pod may name.
const AT_ONCE: usize = 16;
/// Answers that are remembered.
const MOST: usize = 1024;

/// `None` in it: there was no such Token.
type Answer = Arc<OnceCell<Option<TokenRecord>>>;

/// Questions to the API server. A clone is a handle on the same.
#[derive(Clone)]
pub(super) struct Inquiries {
    tokens: Tokens,
    turns: Arc<Semaphore>,
    asked: Arc<Mutex<HashMap<Key, (Instant, Answer)>>>,
}

impl Inquiries {
    pub fn new(tokens: Tokens) -> Self {
        Inquiries {
            tokens,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            asked: Arc::default(),
        }
    }

    /// The API server itself.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The Token as it is, or was within the last second if nothing was told of it since; `None`: the API server knew of none, and
    /// the watch has had the time to tell of one that was made since.
    ///
    /// # Errors
    /// When the API server does not say within a second whether it exists.
    pub async fn ask(&self, key: &Key) -> Result<Option<TokenRecord>, String> {
        let answer = self.place(key);
        let mut is_mine = false;
        // Who asks first asks for all; if that fails, or is given up, the next one asks.
        let look = answer.get_or_try_init(async || {
            is_mine = true;
            let _turn = self.turns.acquire().await;
            self.tokens.get(key).await
        });
        let found = match timeout(LOOK, look).await {
            Ok(Ok(found)) => found.clone(),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no answer within {LOOK:?}")),
        };
        if found.is_none() && !is_mine {
            sleep(MOMENT).await;
        }
        Ok(found)
    }

    /// The watch has told of this Token: from now on memory knows better.
    pub fn forget(&self, key: &Key) {
        self.asked().remove(key);
    }

    /// Where the answer about this Token is, or will be.
    fn place(&self, key: &Key) -> Answer {
        let now = Instant::now();
        let mut asked = self.asked();
        if let Some((since, answer)) = asked.get(key)
            && now - *since < FRESH
        {
            return answer.clone();
        }
        if asked.len() >= MOST {
            asked.clear();
        }
        let answer = Answer::default();
        asked.insert(key.clone(), (now, answer.clone()));
        answer
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<Key, (Instant, Answer)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use futures::stream;
    use kube::client::Body;
    use serde_json::json;
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::cluster::{Change, Scope};
    use crate::domain::intent::Kind;
    use crate::webhook::Known;

    /// An API server that knows of no Token, and takes its time to say so.
    #[derive(Default)]
    struct Server {
        asked: AtomicUsize,
        under_way: AtomicUsize,
        most: AtomicUsize,
    }

    impl Server {
        fn tokens(self: &Arc<Self>, takes: Duration) -> Tokens {
            let server = self.clone();
            let answer = service_fn(move |_: hyper::Request<Body>| {
                let server = server.clone();
                async move {
                    server.asked.fetch_add(1, Ordering::Relaxed);
                    let now = server.under_way.fetch_add(1, Ordering::Relaxed) + 1;
                    server.most.fetch_max(now, Ordering::Relaxed);
                    sleep(takes).await;
                    server.under_way.fetch_sub(1, Ordering::Relaxed);
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                        "message": "there is none", "code": 404});
                    let body = Body::from(status.to_string().into_bytes());
                    Ok::<_, BoxError>(hyper::Response::builder().status(404).body(body)?)
                }
            });
            Tokens::new(kube::Client::new(answer, "default"), Scope::new(&[]))
        }

        fn known(self: &Arc<Self>, takes: Duration) -> Known {
            Known::new(self.tokens(takes))
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    fn key(name: &str) -> Key {
        Key {
            kind: Kind::Token,
            namespace: Some("team".into()),
            name: name.into(),
        }
    }

    fn record(name: &str) -> TokenRecord {
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
            "metadata": {"name": name, "namespace": "team", "uid": name}, "spec": {}});
        TokenRecord::new(Kind::Token, serde_json::from_value(object).unwrap()).unwrap()
    }

    async fn told(known: &Known, changes: Vec<Change>) {
        known.clone().follow(stream::iter(changes)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_missing_is_asked_for_once_a_second_however_often_it_is_named() {
        let server = Arc::new(Server::default());
        let known = server.known(Duration::from_millis(20));
        let ci = key("ci");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(2500) {
            let all = join_all((0..100).map(|_| known.get(&ci))).await;
            assert!(all.iter().all(|found| *found == Ok(None)), "{all:?}");
        }
        assert_eq!(server.asked(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_asked_for_at_once_and_who_gets_no_turn_in_time_is_told() {
        let server = Arc::new(Server::default());
        let known = server.known(Duration::from_millis(300));
        let keys: Vec<Key> = (0..10 * AT_ONCE).map(|number| key(&format!("t{number}"))).collect();
        let all = join_all(keys.iter().map(|key| known.get(key))).await;
        assert_eq!(server.most.load(Ordering::Relaxed), AT_ONCE);
        let answered = all.iter().filter(|found| **found == Ok(None)).count();
        assert_eq!(answered, 3 * AT_ONCE);
        let late = Err("no answer within 1s".to_owned());
        assert_eq!(all.iter().filter(|found| **found == late).count(), 7 * AT_ONCE);
        assert_eq!(known.get(&key("next")).await, Ok(None), "the turns are free again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_question_to_the_next() {
        let server = Arc::new(Server::default());
        let known = server.known(Duration::from_millis(300));
        let ci = key("ci");
        let first = timeout(Duration::from_millis(100), known.get(&ci));
        let (first, second) = tokio::join!(first, known.get(&ci));
        assert!(first.is_err());
        assert_eq!((second, server.asked()), (Ok(None), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_the_watch_has_told_of_is_never_said_to_be_missing() {
        let server = Arc::new(Server::default());
        let known = server.known(Duration::from_millis(300));
        let ci = key("ci");
        let comes = || vec![Change::Token(record("ci"))];
        let later = async {
            sleep(Duration::from_millis(100)).await;
            told(&known, comes()).await;
        };
        let (found, ()) = tokio::join!(known.get(&ci), later);
        assert!(matches!(found, Ok(Some(_))), "while it is asked for: {found:?}");

        told(&known, vec![Change::TokenGone(record("ci"))]).await;
        assert_eq!((known.get(&ci).await, server.asked()), (Ok(None), 2));
        let soon = async {
            sleep(Duration::from_millis(50)).await;
            told(&known, comes()).await;
        };
        let (found, ()) = tokio::join!(known.get(&ci), soon);
        assert!(matches!(found, Ok(Some(_))), "just after it was not there: {found:?}");
        assert_eq!(server.asked(), 2, "memory was enough");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_gone_is_asked_for_anew() {
        let server = Arc::new(Server::default());
        let known = server.known(Duration::ZERO);
        let ci = key("ci");
        assert_eq!(known.get(&ci).await, Ok(None));
        told(
            &known,
            vec![Change::Token(record("ci")), Change::TokenGone(record("ci"))],
        )
        .await;
        assert_eq!((known.get(&ci).await, server.asked()), (Ok(None), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn names_without_end_take_no_memory_without_end() {
        let inquiries = Inquiries::new(Arc::new(Server::default()).tokens(Duration::ZERO));
        for number in 0..3 * MOST {
            let found = inquiries.ask(&key(&number.to_string())).await;
            assert!(matches!(found, Ok(None)), "{found:?}");
            assert!(inquiries.asked().len() <= MOST, "{number}");
        }
    }
}
