//! Owns binding unix sockets: what an ended process has left at a path gives way, nothing else does.

use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt, PermissionsExt},
    },
};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::set;
use crate::{
    address::Pipe,
    plan::{SocketPlan, SocketState},
    socket::Listening,
};

/// A socket at a path that is not in force yet: with its drop goes what was made for it.
pub(in crate::supervisor) struct Made {
    pipe: Pipe,
    /// It was there already, and how it is made stays until this is in force.
    ours: Option<Listening>,
    plan: SocketPlan,
    backlog: u32,
    in_force: bool,
}

/// A socket at a path; the one of ours that is there already, if there is one.
///
/// # Errors
///
/// The system's; that the address is in use where somebody answers at it, that it exists where it is no socket.
pub(super) fn listen(
    pipe: Pipe,
    plan: &SocketPlan,
    backlog: u32,
    ours: Option<&Listening>,
) -> io::Result<(Listening, Made)> {
    let made = |ours| Made { pipe, ours, plan: plan.clone(), backlog, in_force: false };
    if let Some(ours) = ours {
        return Ok((ours.try_clone()?, made(Some(ours.try_clone()?))));
    }
    make_room(pipe)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    set(plan, SocketState::Prebind, &socket)?;
    socket.bind(&SockAddr::unix(pipe.system_path())?)?;
    // Whatever fails from here on takes the path away again.
    let made = made(None);
    // Nobody can connect before it listens.
    permit(pipe, plan)?;
    set(plan, SocketState::Bound, &socket)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    set(plan, SocketState::Listening, &socket)?;
    Ok((Listening::Pipe(OwnedFd::from(socket).into(), pipe), made))
}

// === impl Made ===

impl Made {
    /// Where it is.
    pub(super) fn path(&self) -> &'static str {
        self.pipe.path()
    }

    /// It is in force: a socket that was there before is from now on as it is asked for.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(in crate::supervisor) fn put_in_force(mut self) -> io::Result<()> {
        self.in_force = true;
        let Some(Listening::Pipe(ours, _)) = &self.ours else { return Ok(()) };
        permit(self.pipe, &self.plan)?;
        let socket = SockRef::from(ours);
        for state in [SocketState::Prebind, SocketState::Bound, SocketState::Listening] {
            set(&self.plan, state, &socket)?;
        }
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.in_force && self.ours.is_none() && self.pipe.abstract_name().is_none() {
            // It may be gone already.
            let _ = fs::remove_file(self.pipe.path());
        }
    }
}

/// `pipe.mode`
fn permit(pipe: Pipe, plan: &SocketPlan) -> io::Result<()> {
    match plan.mode.filter(|_| pipe.abstract_name().is_none()) {
        Some(mode) => fs::set_permissions(pipe.path(), Permissions::from_mode(mode)),
        None => Ok(()),
    }
}

/// Takes away a socket that nobody listens on any more. Envoy takes away whatever is there, and from whomever.
fn make_room(pipe: Pipe) -> io::Result<()> {
    if pipe.abstract_name().is_some() {
        return Ok(());
    }
    match fs::symlink_metadata(pipe.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(_) => {}
    }
    let asking = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    asking.set_nonblocking(true)?;
    match asking.connect(&SockAddr::unix(pipe.system_path())?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(pipe.path())
        }
        // A full backlog is somebody's, too.
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::{UnixListener, UnixStream},
        path::PathBuf,
    };

    use super::*;
    use crate::address::Pipe;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("understudy-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn kind_of<T>(made: io::Result<T>) -> Option<io::ErrorKind> {
        made.err().map(|error| error.kind())
    }

    /// What is put in force at once.
    fn now(
        pipe: Pipe,
        plan: &SocketPlan,
        backlog: u32,
        ours: Option<&Listening>,
    ) -> io::Result<Listening> {
        let (listening, made) = listen(pipe, plan, backlog, ours)?;
        made.put_in_force().map(|()| listening)
    }

    #[test]
    fn a_socket_that_was_left_gives_way_and_nothing_else_does() {
        let folder = folder("pipes");
        let path = folder.join("a.sock");
        let (pipe, plan) = (Pipe::at(path.to_str().unwrap()), SocketPlan::default());
        let theirs = UnixListener::bind(&path).unwrap();
        let listen = || now(pipe, &plan, 8, None);
        assert_eq!(kind_of(listen()), Some(io::ErrorKind::AddrInUse));
        drop(theirs);
        drop(super::listen(pipe, &plan, 8, None).unwrap());
        assert!(!path.exists(), "what is not put in force leaves nothing");
        let ours = listen().unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(kind_of(listen()), Some(io::ErrorKind::AddrInUse));
        drop(ours);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a letter").unwrap();
        assert_eq!(kind_of(listen()), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a letter");
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(kind_of(listen()), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_listener_of_ours_hands_its_socket_on_and_who_may_connect_is_set_anew() {
        let folder = folder("modes");
        let path = folder.join("a.sock");
        let pipe = Pipe::at(path.to_str().unwrap());
        let of_mode = |mode| SocketPlan { mode, ..SocketPlan::default() };
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let first = now(pipe, &of_mode(Some(0o640)), 8, None).unwrap();
        assert_eq!(mode(), 0o640);
        let waiting = UnixStream::connect(&path).unwrap();
        drop(listen(pipe, &of_mode(Some(0o666)), 8, Some(&first)).unwrap());
        assert_eq!(mode(), 0o640);
        let second = now(pipe, &of_mode(Some(0o600)), 8, Some(&first)).unwrap();
        assert_eq!(mode(), 0o600);
        drop(first);
        let Listening::Pipe(second, _) = second else { panic!("no pipe") };
        second.accept().unwrap();
        drop(waiting);
        fs::remove_dir_all(folder).unwrap();
    }
}
