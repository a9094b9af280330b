//! Who waits for a run that returns before its work is done: the caller's event, and a function that is called.

mod build;

use build::{bytes, devices, floats, input, squares};
use infer::cuda::{Device, Event, Memory, Stream};
use infer::error::Status;
use infer::exec::{Control, Done, RawEvent, RawStream};
use infer::session::{Context, DeviceData, DeviceId, Input, Output, Session, SessionOptions};
use infer::tensor::DType;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

const X: [f32; 4] = [1.0, 0.5, 2.0, 0.0];
const Y: [f32; 4] = [300.0, 150.0, 600.0, 0.0];

/// How a run has ended, and on which thread that was told.
type Told = (Result<(), Status>, ThreadId);

/// What tells, and where it arrives.
fn done() -> (Done, Receiver<Told>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let tell = move |result: infer::error::Result<()>| {
        let result = result.map_err(|e| e.status());
        sender.lock().unwrap().send((result, thread::current().id())).unwrap();
    };
    (Arc::new(tell), receiver)
}

fn context(device: DeviceId) -> Context {
    Context::new(&Session::new(&squares(), &SessionOptions { device, threads: 1, ..Default::default() }).unwrap())
}

fn data(memory: &Memory) -> Option<DeviceData> {
    Some(DeviceData { ordinal: 0, address: memory.address().0, len: memory.len() })
}

#[test]
fn a_run_that_waits_tells_before_it_returns() {
    for device in devices() {
        let (mut context, x, (done, told)) = (context(device), bytes(&X), done());
        // On the processor there is nothing to return before.
        let asynchronous = device == DeviceId::Cpu;
        let control = Control { done: Some(&done), asynchronous, ..Control::default() };
        for _ in 0..3 {
            let mut outputs = [Output::default()];
            context.run(&[input(&x)], &mut outputs, control).unwrap();
            assert_eq!(floats(outputs[0].owned.as_ref().unwrap()), Y);
            assert_eq!(told.try_iter().collect::<Vec<_>>(), [(Ok(()), thread::current().id())]);
        }
        // A run that fails tells nobody.
        let wrong = Input { dtype: DType::I32, ..input(&x) };
        assert!(context.run(&[wrong], &mut [Output::default()], control).is_err());
        let mut small = [0; 4];
        let small = &mut [Output { data: Some(&mut small), ..Output::default() }];
        assert_eq!(context.run(&[input(&x)], small, control).unwrap_err().status(), Status::BufferTooSmall);
        assert!(told.try_recv().is_err());
    }
}

#[test]
fn the_driver_tells_when_the_work_is_done() {
    let Ok(device) = Device::open(0) else { return };
    let stream = Arc::new(Stream::new(&device).unwrap());
    let (mut context, (done, told)) = (context(DeviceId::Cuda(0)), done());
    // In streams of the context's own and of the caller's.
    for raw in [None, None, None, Some(RawStream(stream.as_raw())), None] {
        let (x, y) = (Memory::copy_of(&stream, &bytes(&X)).unwrap(), Memory::copy_of(&stream, &[0; 16]).unwrap());
        let input = Input { device: data(&x), data: &[], ..input(&bytes(&X)) };
        let mut outputs = [Output { device: data(&y), ..Output::default() }];
        let control = Control { done: Some(&done), stream: raw, asynchronous: true, ..Control::default() };
        context.run(&[input], &mut outputs, control).unwrap();
        device.synchronize().unwrap();
        let (result, thread) = told.recv().unwrap();
        assert_eq!(result, Ok(()));
        // The stand-in's work is done by who waits for it.
        assert!(thread != thread::current().id() || device.info().name == "Stand-in");
        let mut got = [0; 16];
        y.read(&mut got).unwrap();
        assert_eq!(floats(&got), Y);
    }
    assert!(told.try_recv().is_err());
}

#[test]
fn an_event_is_reached_behind_the_work() {
    let Ok(device) = Device::open(0) else { return };
    let [stream, other] = [0; 2].map(|_| Arc::new(Stream::new(&device).unwrap()));
    let (mut context, event) = (context(DeviceId::Cuda(0)), Event::new(&device).unwrap());
    for asynchronous in [true, true, true, false] {
        let (x, y) = (Memory::copy_of(&stream, &bytes(&X)).unwrap(), Memory::copy_of(&other, &[0; 16]).unwrap());
        let input = Input { device: data(&x), data: &[], ..input(&bytes(&X)) };
        let mut outputs = [Output { device: data(&y), ..Output::default() }];
        let event_of_ours = Some(RawEvent(event.as_raw()));
        let control = Control { event: event_of_ours, asynchronous, ..Control::default() };
        context.run(&[input], &mut outputs, control).unwrap();
        other.wait(&event).unwrap();
        let mut got = [0; 16];
        y.read(&mut got).unwrap();
        assert_eq!(floats(&got), Y);
    }
}

/// Runs an ignored test of this file in a process of its own, where nobody else waits for the device.
fn child(test: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--ignored"]).envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What makes copies overlap with work: a context for each run that is under way.
#[test]
fn contexts_do_not_wait_for_each_other() {
    if Device::open(0).is_ok() {
        child("two_contexts", &[]);
    }
}

#[test]
#[ignore = "run by contexts_do_not_wait_for_each_other"]
fn two_contexts() {
    let device = Device::open(0).unwrap();
    let stream = Arc::new(Stream::new(&device).unwrap());
    let session = context(DeviceId::Cuda(0)).session().clone();
    let mut contexts = [0; 2].map(|_| Context::new(&session));
    let (done, told) = done();
    for round in 1..=4 {
        let y = [0; 2].map(|_| Memory::copy_of(&stream, &[0; 16]).unwrap());
        let factors = [1.0, round as f32];
        for ((context, y), factor) in contexts.iter_mut().zip(&y).zip(factors) {
            // The host's input is free when the run returns.
            let x = bytes(&X.map(|x| factor * x));
            let mut outputs = [Output { device: data(y), ..Output::default() }];
            let control = Control { done: Some(&done), asynchronous: true, ..Control::default() };
            context.run(&[input(&x)], &mut outputs, control).unwrap();
        }
        if device.info().name == "Stand-in" {
            assert!(told.try_recv().is_err(), "a run of one context waits for the other's");
        }
        device.synchronize().unwrap();
        (0..2).for_each(|_| assert_eq!(told.recv().unwrap().0, Ok(())));
        for (y, factor) in y.iter().zip(factors) {
            let mut got = [0; 16];
            y.read(&mut got).unwrap();
            assert_eq!(floats(&got), Y.map(|y| factor * y));
        }
    }
}

#[test]
fn a_run_that_is_captured_cannot_tell() {
    let Ok(device) = Device::open(0) else { return };
    let stream = Arc::new(Stream::new(&device).unwrap());
    let (mut context, (done, told)) = (context(DeviceId::Cuda(0)), done());
    let [x, y] = [0; 2].map(|_| Memory::copy_of(&stream, &bytes(&X)).unwrap());
    let input = Input { device: data(&x), data: &[], ..input(&bytes(&X)) };
    let mut outputs = [Output { device: data(&y), ..Output::default() }];
    let raw = Some(RawStream(stream.as_raw()));
    let control = Control { done: Some(&done), stream: raw, asynchronous: true, ..Control::default() };
    let mut run = Ok(());
    let captured = stream.capture(|| {
        run = context.run(&[input], &mut outputs, control);
        Ok(())
    });
    assert!(captured.is_err() && run.is_err_and(|e| e.message().contains("cuStreamAddCallback")));
    assert!(told.try_recv().is_err());
    // It was no harm to later runs.
    context.run(&[input], &mut outputs, Control { stream: raw, ..Control::default() }).unwrap();
}

#[test]
fn a_device_that_fails_is_told_of() {
    let Ok(device) = Device::open(0) else { return };
    if device.info().name == "Stand-in" {
        child("the_device_fails", &[("INFER_STANDIN_FAIL", "cuCtxSynchronize:1:700")]);
    }
}

#[test]
#[ignore = "run by a_device_that_fails_is_told_of"]
fn the_device_fails() {
    let device = Device::open(0).unwrap();
    let stream = Arc::new(Stream::new(&device).unwrap());
    let (mut context, (done, told)) = (context(DeviceId::Cuda(0)), done());
    let [x, y] = [0; 2].map(|_| Memory::copy_of(&stream, &bytes(&X)).unwrap());
    let input = Input { device: data(&x), data: &[], ..input(&bytes(&X)) };
    let mut outputs = [Output { device: data(&y), ..Output::default() }];
    let control = Control { done: Some(&done), asynchronous: true, ..Control::default() };
    context.run(&[input], &mut outputs, control).unwrap();
    assert!(told.try_recv().is_err());
    assert!(device.synchronize().is_err());
    assert_eq!(told.try_recv().unwrap().0, Err(Status::Device));
}
