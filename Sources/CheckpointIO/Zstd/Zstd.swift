import CZstd
import Glibc

/// Zstandard frames (RFC 8878) through libzstd.
package enum Zstd {
    /// The largest window that a frame may ask for: 2^27 bytes, libzstd's own default for decoders.
    private static let windowLogLimit: Int32 = 27

    /// Bytes that may come out whatever went in, and how many more for each byte that did: text shrinks to a tenth or
    /// so, and only what was made to fill a memory to a thousandth.
    private static let (freeBytes, expansionLimit) = (32 << 20, 256)

    /// Unpacks a `.zst` file of one or more frames.
    ///
    /// Throws `malformed` for anything but whole frames or for far more bytes than honest data unpack to, `tooLarge` if
    /// more than `limit` bytes come out, and what opening a file throws. Memory stays within what comes out, whatever
    /// the file claims.
    package static func decompress(file path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
        try decompress(try MappedFile.open(path), limit: limit, refusesBombs: true)
    }

    /// Unpacks the bytes of a `.zst` file called `path`; see the variant for a path.
    package static func decompress(_ bytes: [UInt8], path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
        let outcome = bytes.withUnsafeBytes { bytes in
            Result { () throws(CheckpointError) in
                try decompress(bytes, path: path, limit: limit, refusesBombs: true)
            }
        }
        return try outcome.get()
    }

    /// Unpacks a mapped `.zst` file; see the variant for a path. Without `refusesBombs`, `limit` alone is kept to.
    static func decompress(
        _ file: MappedFile, limit: Int, refusesBombs: Bool = false
    ) throws(CheckpointError) -> [UInt8] {
        let outcome = file.withBytes { bytes in
            Result { () throws(CheckpointError) in
                try decompress(bytes, path: file.path, limit: limit, refusesBombs: refusesBombs)
            }
        }
        return try outcome.get()
    }

    private static func decompress(
        _ bytes: UnsafeRawBufferPointer, path: String, limit: Int, refusesBombs: Bool
    ) throws(CheckpointError) -> [UInt8] {
        guard bytes.count > 0 else { throw .malformed(file: path, problem: "is empty, not a Zstandard file") }
        guard let stream = ZSTD_createDCtx() else { throw .unreadable(path: path, code: ENOMEM) }
        defer { ZSTD_freeDCtx(stream) }
        ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, windowLogLimit)
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: ZSTD_DStreamOutSize())
        var input = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
        var isFrameStart = true
        while true {
            // libzstd may know older formats too, whose decoders nobody cares for any more.
            if isFrameStart, input.pos < input.size,
                !SeekableZstdFile.isZstandard(UnsafeRawBufferPointer(rebasing: bytes[input.pos...]))
            {
                throw .malformed(file: path, problem: "has no Zstandard frame at byte \(input.pos)")
            }
            let (hint, produced) = chunk.withUnsafeMutableBytes { buffer in
                var space = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
                let hint = ZSTD_decompressStream(stream, &space, &input)
                return (hint, space.pos)
            }
            if ZSTD_isError(hint) != 0 {
                throw .malformed(
                    file: path, problem: "is not sound Zstandard data: \(String(cString: ZSTD_getErrorName(hint)))")
            }
            isFrameStart = hint == 0
            guard output.count + produced <= limit else { throw .tooLarge(path: path, limit: limit) }
            guard !refusesBombs || output.count + produced <= freeBytes + expansionLimit * input.pos else {
                throw .malformed(
                    file: path,
                    problem: "unpacks to more than \(expansionLimit) times its size, which no honest data does")
            }
            output.append(contentsOf: chunk[..<produced])
            guard input.pos == input.size else { continue }
            // 0 says that the last frame is complete. Asked again, libzstd would wait for another one.
            if hint == 0 { return output }
            if produced < chunk.count { throw .malformed(file: path, problem: "ends inside a Zstandard frame") }
        }
    }

    /// One frame that holds `bytes`, at libzstd's `level` (3 is its default).
    package static func compress(_ bytes: [UInt8], level: Int32 = 3) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(bytes.count)) { buffer, count in
            let result = ZSTD_compress(buffer.baseAddress, buffer.count, bytes, bytes.count, level)
            precondition(ZSTD_isError(result) == 0, "a buffer of the bound's size always suffices")
            count = result
        }
    }
}

/// Makes frames, one after another: a context of libzstd that is kept, since its tables cost more than they say.
final class FramePacker {
    private let context: OpaquePointer

    /// `level` is one of libzstd's.
    init(level: Int32) {
        guard let context = ZSTD_createCCtx() else { preconditionFailure("no memory for a Zstandard context") }
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
        self.context = context
    }

    deinit { ZSTD_freeCCtx(context) }

    /// One frame that holds `content`, with its size and a checksum.
    func frame(_ content: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(content.count)) { buffer, count in
            count = ZSTD_compress2(context, buffer.baseAddress, buffer.count, content.baseAddress, content.count)
            precondition(ZSTD_isError(count) == 0, "a buffer of the bound's size always suffices")
        }
    }
}
