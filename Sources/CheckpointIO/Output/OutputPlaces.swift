import CKernels
import Glibc

/// An output file that is written at places of the caller's choice, by several threads at once. Made by
/// `AtomicFileWriter.places` after `reserve`; the writer owns the descriptor and must outlive it.
package struct OutputPlaces: Sendable {
    /// The path that the file will have, for errors.
    let path: String
    /// Open for writing; it also tells files apart.
    package let descriptor: Int32

    /// Writes bytes from byte `offset` of the file on. Throws `writeFailed`; the file is then to be abandoned.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(CheckpointError) {
        var written = 0
        while written < bytes.count {
            let (from, rest, place) = (bytes.baseAddress! + written, bytes.count - written, offset + written)
            let count = retryingOnInterrupt { pwrite(descriptor, from, rest, place) }
            // A write of nothing with no error would loop for ever; it means the device takes no more.
            guard count > 0 else { throw .writeFailed(path: path, code: count < 0 ? errno : ENOSPC) }
            written += count
        }
    }

    /// Copies a range (bytes) of a mapped file to byte `offset`, moved by the kernel where the file systems can.
    /// Throws `writeFailed`, and `inputChanged` or `inputLost` where the range is no longer there, `malformed`
    /// where it cannot be unpacked.
    ///
    /// - Parameter scratch: makes memory, valid until it is called again, for what is to be unpacked and is not needed
    ///   again; without it, it is unpacked in the mapping.
    package func copy(
        _ range: Range<Int>, of source: MappedFile, to offset: Int,
        scratch: ((_ byteCount: Int) -> UnsafeMutableRawBufferPointer)? = nil
    ) throws(CheckpointError) {
        precondition(range.lowerBound >= 0 && range.upperBound <= source.byteCount, "a range outside the file")
        if let scratch {
            let written: Void? = try source.withUnpackedBytes(in: range, scratch: scratch) {
                (bytes) throws(CheckpointError) in try write(bytes, at: offset)
            }
            if written != nil { return }
        }
        try source.hold(range)
        defer { source.releaseCopied(range) }
        var (position, target) = (Int64(range.lowerBound), Int64(offset))
        while position < range.upperBound {
            let rest = range.upperBound - Int(position)
            let count = retryingOnInterrupt {
                tspeft_copy_range(source.descriptor, &position, descriptor, &target, rest)
            }
            if count > 0 { continue }
            let code = count < 0 ? errno : 0
            if code == ENOSPC || code == EDQUOT || code == EFBIG || code == EIO {
                throw .writeFailed(path: path, code: code)
            }
            // The end of the file, where the range goes on: it was cut short.
            if code == 0 { try source.checkUnchanged() }
            // Not between these file systems: through memory then.
            let outcome = source.withBytes { bytes in
                Result { () throws(CheckpointError) in
                    try write(
                        UnsafeRawBufferPointer(rebasing: bytes[Int(position)..<range.upperBound]), at: Int(target))
                }
            }
            // The system, which can't read a lost page either, says so without a signal.
            if case .failure(.writeFailed(_, EFAULT)) = outcome { throw .inputLost(path: source.path) }
            return try outcome.get()
        }
    }

    /// Has the kernel begin to write a range that is complete to the disk, so that the sync at the end has less to do.
    package func beginWriting(_ range: Range<Int>) {
        tspeft_begin_writing(descriptor, Int64(range.lowerBound), Int64(range.count))
    }
}
