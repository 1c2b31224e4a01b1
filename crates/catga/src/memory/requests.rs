//! Requests and answers within this process.

use super::Memory;
use bytes::Bytes;
use catga_contract::{Asked, Error, ErrorKind, Parcel, RequestReply, Result, Server, Str, Subject};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// How many requests wait with one member; more wait with those who ask.
const WAITING: usize = 64;

/// Who serves which subject.
#[derive(Debug, Default)]
pub(super) struct Exchange(Mutex<HashMap<Subject, Vec<Group>>>);

#[derive(Debug)]
struct Group {
    name: Str,
    members: Vec<mpsc::Sender<Asked>>,
    /// Whose turn it is.
    next: usize,
}

impl RequestReply for Memory {
    type Server = MemoryServer;

    async fn ask(&self, request: &Parcel, time: Duration) -> Result<Bytes> {
        self.shared.exchange.ask(request, time).await
    }

    async fn ask_all(&self, request: &Parcel, time: Duration) -> Result<Vec<Bytes>> {
        self.shared.exchange.ask_all(request, time).await
    }

    async fn serve(&self, group: &Str, subjects: &[Subject]) -> Result<MemoryServer> {
        Ok(self.shared.exchange.serve(group, subjects))
    }
}

impl Exchange {
    async fn ask(&self, request: &Parcel, time: Duration) -> Result<Bytes> {
        let member = self.members(&request.subject).into_iter().next().ok_or_else(|| nobody(&request.subject))?;
        let late = |_| {
            let text = format!("`{}` was not answered within {time:?}", request.subject);
            Error::new(ErrorKind::Timeout, text)
        };
        tokio::time::timeout(time, hand_over(member, request)).await.map_err(late)?
    }

    async fn ask_all(&self, request: &Parcel, time: Duration) -> Result<Vec<Bytes>> {
        let members = self.members(&request.subject);
        if members.is_empty() {
            return Err(nobody(&request.subject));
        }
        let mut asked: FuturesUnordered<_> = members.into_iter().map(|member| hand_over(member, request)).collect();
        let mut frames = Vec::with_capacity(asked.len());
        let all = async {
            while let Some(answer) = asked.next().await {
                // One that ended without an answer is as one that is late.
                frames.extend(answer.ok());
            }
        };
        let _ = tokio::time::timeout(time, all).await;
        Ok(frames)
    }

    fn serve(&self, group: &Str, subjects: &[Subject]) -> MemoryServer {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut served = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for subject in subjects {
            let groups = served.entry(subject.clone()).or_default();
            match groups.iter_mut().find(|other| other.name == *group) {
                Some(group) => group.members.push(sender.clone()),
                None => groups.push(Group { name: group.clone(), members: vec![sender.clone()], next: 0 }),
            }
        }
        MemoryServer(receiver)
    }

    /// One member of each group that serves the subject: the next in turn that has room, else the next.
    fn members(&self, subject: &Subject) -> Vec<mpsc::Sender<Asked>> {
        let mut served = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(groups) = served.get_mut(subject) else { return Vec::new() };
        groups.iter_mut().for_each(|group| group.members.retain(|member| !member.is_closed()));
        groups.retain(|group| !group.members.is_empty());
        let member = |group: &mut Group| {
            let count = group.members.len();
            let free = (0..count).map(|ahead| (group.next + ahead) % count);
            let chosen = free.clone().find(|at| group.members[*at].capacity() > 0).unwrap_or(group.next % count);
            group.next = (chosen + 1) % count;
            group.members[chosen].clone()
        };
        groups.iter_mut().map(member).collect()
    }
}

/// Hands a request to a member, and waits for its answer.
fn hand_over(member: mpsc::Sender<Asked>, request: &Parcel) -> impl Future<Output = Result<Bytes>> + Send + use<> {
    let (answer, answered) = oneshot::channel();
    let asked = Asked::new(request.frame.clone(), move |frame| {
        // Who asked may have gone meanwhile.
        let _ = answer.send(frame);
        async { Ok(()) }.boxed()
    });
    let subject = request.subject.clone();
    async move {
        member.send(asked).await.map_err(|_| nobody(&subject))?;
        drop(member);
        answered.await.map_err(|_| {
            let text = format!("whoever was asked for `{subject}` ended without an answer");
            Error::new(ErrorKind::Timeout, text)
        })
    }
}

fn nobody(subject: &Subject) -> Error {
    Error::new(ErrorKind::NoHandler, format!("nobody serves `{subject}`"))
}

/// What one member is asked.
#[derive(Debug)]
pub struct MemoryServer(mpsc::Receiver<Asked>);

impl Server for MemoryServer {
    async fn next(&mut self) -> Result<Asked> {
        let gone = || Error::new(ErrorKind::Closed, "the memory that this was served by is gone");
        self.0.recv().await.ok_or_else(gone)
    }
}
