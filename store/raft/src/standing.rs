//! An open stream on which questions are asked one at a time, again and again.
//!
//! To open a call costs both sides more than to ask and to answer. Whoever gives up on an answer drops the
//! stream, so that no answer is ever taken for another question's.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::proto::Frame;
use crate::traffic::Traffic;

/// The questions of a stream, to open it with.
pub(crate) type Questions = ReceiverStream<Frame>;

/// The asking side.
#[derive(Debug)]
pub(crate) struct Standing {
    questions: mpsc::Sender<Frame>,
    answers: Streaming<Frame>,
    traffic: Arc<Traffic>,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Said {
    Answer(Frame),
    /// The stream had ended before, or ended well without an answer: nobody has read the question.
    Nothing,
    /// It broke: nobody knows.
    Broken(Status),
}

/// A stream's questions, and what to ask them with once it is open.
pub(crate) fn questions() -> (mpsc::Sender<Frame>, Questions) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, ReceiverStream::new(receiver))
}

impl Standing {
    pub(crate) fn new(
        questions: mpsc::Sender<Frame>,
        answers: Streaming<Frame>,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self { questions, answers, traffic }
    }

    /// Whether it is known to have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.questions.is_closed()
    }

    pub(crate) async fn ask(&mut self, question: Frame) -> Said {
        self.traffic.sent(&question);
        if self.questions.send(question).await.is_err() {
            return Said::Nothing;
        }
        match self.answers.message().await {
            Ok(Some(answer)) => {
                self.traffic.received(&answer);
                Said::Answer(answer)
            }
            // A stream that is cancelled in the middle of an answer ends in the same way, without a status.
            Ok(None) => match self.answers.trailers().await {
                Ok(Some(_)) => Said::Nothing,
                Ok(None) => Said::Broken(Status::cancelled("the stream was cut")),
                Err(status) => Said::Broken(status),
            },
            Err(status) => Said::Broken(status),
        }
    }
}
