//! Owns looking at the first bytes of a connection without taking them: whoever serves it reads them again.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream};

/// What is thought of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// They say this.
    Seen(T),
    /// They may say something with more of them.
    More,
}

/// How looking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peeked<T> {
    /// With this.
    Seen(T),
    /// The peer has gone before it said enough.
    Closed,
    /// So much came that nothing can come of it any more.
    TooMuch,
}

/// Looks at what comes, at most `max` bytes of it, each time that there is more.
///
/// # Errors
///
/// The system's.
pub async fn peek<T>(
    socket: &TcpStream,
    max: usize,
    mut look: impl FnMut(&[u8]) -> Look<T>,
) -> io::Result<Peeked<T>> {
    let mut seen = vec![0; max.min(FIRST_BYTES)];
    loop {
        let ready = socket.ready(Interest::READABLE).await?;
        let mut count = 0;
        // That it would block is what makes the next wait one for more: the bytes stay where they are.
        let looked = socket.try_io(Interest::READABLE, || {
            loop {
                count = recv(socket, &mut seen[..], RecvFlags::PEEK)?.0;
                if count < seen.len() || seen.len() >= max {
                    break;
                }
                seen.resize((seen.len() * 4).min(max), 0);
            }
            match look(seen.get(..count).unwrap_or_default()) {
                Look::Seen(what) => Ok(Peeked::Seen(what)),
                Look::More if count == 0 => Ok(Peeked::Closed),
                Look::More if count >= max => Ok(Peeked::TooMuch),
                Look::More => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if ready.is_read_closed() && count > 0 {
                    return Ok(Peeked::Closed);
                }
            }
            other => return other,
        }
    }
}

/// What is looked at first: more than most clients say.
const FIRST_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    fn line(bytes: &[u8]) -> Look<usize> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        end.map_or(Look::More, Look::Seen)
    }

    #[tokio::test]
    async fn what_comes_in_parts_is_looked_at_until_it_is_enough_and_stays() {
        let (mut near, mut far) = pair().await;
        let write = async {
            for part in ["he", "llo", "\nrest"] {
                near.write_all(part.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (peeked, ()) = tokio::join!(peek(&far, 100, line), write);
        assert_eq!(peeked.unwrap(), Peeked::Seen(5));
        let mut all = [0; 10];
        far.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"hello\nrest");
    }

    #[tokio::test]
    async fn too_much_and_an_early_end_are_told_apart() {
        let (mut near, far) = pair().await;
        near.write_all(&[b'x'; 5000]).await.unwrap();
        assert_eq!(peek(&far, 4000, line).await.unwrap(), Peeked::TooMuch);
        let (mut near, far) = pair().await;
        near.write_all(b"half").await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(peek(&far, 4000, line).await.unwrap(), Peeked::Closed);
        let (near, far) = pair().await;
        drop(near);
        assert_eq!(peek(&far, 4000, line).await.unwrap(), Peeked::Closed);
    }
}
