//! Owns the tests of supervision: an actor falls in every way it can.

use std::{cell::Cell, rc::Rc};

use super::*;

/// Counts; falls where a test asks it to.
struct Counter {
    count: u32,
    kept: Rc<Cell<u32>>,
    starts: Rc<Cell<u32>>,
    fall_at_start: Rc<Cell<u32>>,
    fall_restarting: Rc<Cell<u32>>,
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Add;

#[derive(Message)]
#[rtype(result = "()")]
enum FallIn {
    Response,
    Spawned,
    Interval,
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.starts.set(self.starts.get() + 1);
        take_fall(&self.fall_at_start);
    }
}

impl Supervised for Counter {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.count = self.kept.get();
        take_fall(&self.fall_restarting);
    }
}

falls!(Counter);

fn take_fall(falls: &Cell<u32>) {
    if falls.get() > 0 {
        falls.set(falls.get() - 1);
        panic!("as planned");
    }
}

impl Handler<Add> for Counter {
    type Result = u32;

    fn handle(&mut self, _: Add, _: &mut Context<Self>) -> u32 {
        self.count += 1;
        self.kept.set(self.count);
        self.count
    }
}

impl Handler<FallIn> for Counter {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, place: FallIn, ctx: &mut Context<Self>) -> Self::Result {
        let falling = async { panic!("as planned") };
        match place {
            FallIn::Response => return Box::pin(falling.into_actor(self)),
            FallIn::Spawned => drop(ctx.spawn(falling.into_actor(self))),
            FallIn::Interval => {
                ctx.run_later(Duration::from_millis(1), |_, _| panic!("as planned"));
            }
        }
        Box::pin(async {}.into_actor(self))
    }
}

fn counter() -> (Addr<Counter>, Arc<Roster>, [Rc<Cell<u32>>; 3]) {
    let cells: [Rc<Cell<u32>>; 3] = Default::default();
    let [starts, fall_at_start, fall_restarting] = cells.clone();
    let roster = Arc::new(Roster::default());
    let cast = Cast {
        roster: roster.clone(),
        role: "Counter",
        name: "counter".to_owned(),
        parent: String::new(),
        reports: Arc::new(|_| {}),
    };
    let kept = Rc::default();
    let address = supervise(cast, move |_| Counter {
        count: 0,
        kept,
        starts,
        fall_at_start,
        fall_restarting,
    });
    (address, roster, cells)
}

fn restarts(roster: &Roster) -> u64 {
    let members = roster.members();
    members.iter().map(|m| m.restarts.load(std::sync::atomic::Ordering::Relaxed)).sum()
}

#[actix::test]
async fn a_message_behind_a_fatal_one_is_answered_by_the_restarted_actor() {
    let (counter, roster, [starts, ..]) = counter();
    assert_eq!(counter.send(Add).await.unwrap(), 1);
    counter.do_send(Fall);
    assert_eq!(counter.send(Add).await.unwrap(), 2);
    assert!(counter.connected());
    assert_eq!((restarts(&roster), starts.get()), (1, 2));
    let fall = roster.members()[0].state.lock().last_fall.clone();
    assert!(fall.unwrap().1.starts_with("asked to fall (actors/src/supervise/tests.rs:"));
}

#[actix::test]
async fn it_stands_up_from_a_fall_in_a_response_a_spawned_future_and_an_interval() {
    let (counter, roster, _) = counter();
    for (falls, place) in
        [FallIn::Response, FallIn::Spawned, FallIn::Interval].into_iter().enumerate()
    {
        let _ = counter.send(place).await;
        while restarts(&roster) == falls as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(counter.send(Add).await.unwrap(), falls as u32 + 1);
    }
}

#[actix::test]
async fn it_stands_up_from_falls_in_started_and_restarting() {
    let (counter, roster, [_, fall_at_start, fall_restarting]) = counter();
    fall_at_start.set(2);
    fall_restarting.set(1);
    assert_eq!(counter.send(Add).await.unwrap(), 1);
    assert!(restarts(&roster) == 3);
}

#[actix::test]
async fn one_that_falls_for_ever_waits_longer_and_longer_and_comes_back() {
    let (counter, roster, [_, fall_at_start, _]) = counter();
    tokio::time::pause();
    fall_at_start.set(9);
    assert_eq!(counter.send(Add).await.unwrap(), 1);
    assert_eq!(restarts(&roster), 9);
    let paused = roster.journal().iter().filter(|entry| entry.what == "paused").count();
    assert_eq!(paused, 4);
}
