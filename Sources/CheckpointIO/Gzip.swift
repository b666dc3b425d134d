import CZlib

/// gzip files (RFC 1952), unpacked by zlib.
package enum Gzip {
    /// What every member starts with.
    package static let mark: [UInt8] = [0x1F, 0x8B]

    /// The window of every DEFLATE stream, 2^15 bytes, and zlib's sign for gzip's header and checksum around it.
    private static let windowBits = MAX_WBITS + 16
    /// Bytes that are unpacked at a time.
    private static let pieceSize = 1 << 18
    /// Bytes that zlib is given at a time, whose counts have 32 bits.
    private static let inputLimit = 1 << 30

    private enum Problem {
        case malformed(String)
        case tooLarge
    }

    /// Unpacks a gzip file of one or more members; zeros behind the last one are padding.
    ///
    /// - Parameter path: what to call the file in errors.
    ///
    /// Throws `malformed` for anything but whole members whose checksum and length are right, `tooLarge` if more than
    /// `limit` bytes come out. Memory stays within what comes out.
    package static func decompress(_ bytes: [UInt8], path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
        var output: [UInt8] = []
        switch bytes.withUnsafeBufferPointer({ unpack($0, into: &output, limit: limit) }) {
        case nil: return output
        case .tooLarge?: throw .tooLarge(path: path, limit: limit)
        case .malformed(let problem)?: throw .malformed(file: path, problem: "is not sound gzip data: \(problem)")
        }
    }

    private static func unpack(
        _ bytes: UnsafeBufferPointer<UInt8>, into output: inout [UInt8], limit: Int
    ) -> Problem? {
        var stream = z_stream()
        let size = CInt(MemoryLayout<z_stream>.size)
        guard inflateInit2_(&stream, windowBits, ZLIB_VERSION, size) == Z_OK else {
            return .malformed("zlib cannot begin to unpack it")
        }
        let piece = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: pieceSize)
        defer {
            piece.deallocate()
            inflateEnd(&stream)
        }
        var place = 0
        repeat {
            guard bytes[place...].starts(with: mark) else { return .malformed("no member begins at byte \(place)") }
            inflateReset(&stream)
            if let problem = unpackMember(bytes, &place, &stream, piece, into: &output, limit: limit) { return problem }
        } while !bytes[place...].allSatisfy({ $0 == 0 })
        return nil
    }

    /// Unpacks the member at `place`, which is behind it then.
    private static func unpackMember(
        _ bytes: UnsafeBufferPointer<UInt8>, _ place: inout Int, _ stream: inout z_stream,
        _ piece: UnsafeMutableBufferPointer<UInt8>, into output: inout [UInt8], limit: Int
    ) -> Problem? {
        while true {
            let given = min(bytes.count - place, inputLimit)
            // zlib does not write to what it reads.
            stream.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress! + place)
            stream.avail_in = uInt(given)
            stream.next_out = piece.baseAddress
            stream.avail_out = uInt(piece.count)
            let status = inflate(&stream, Z_NO_FLUSH)
            place += given - Int(stream.avail_in)
            let made = piece.count - Int(stream.avail_out)
            guard output.count + made <= limit else { return .tooLarge }
            output.append(contentsOf: piece[..<made])
            switch status {
            case Z_STREAM_END: return nil
            case Z_OK: continue
            case Z_BUF_ERROR: return .malformed("it ends too early")
            default: return .malformed(stream.msg.map { String(cString: $0) } ?? "zlib ends with code \(status)")
            }
        }
    }
}
