import CKernels
import CheckpointIO
import Threads

extension ValueStatistics {
    /// The figures of each tensor, in the order given; nil for those of a type without numbers
    /// (`TensorEncoding.isNumeric`).
    ///
    /// Every tensor is read once, as a stream, by all processors; what is kept is a few kilobytes a thread. Throws what
    /// reading throws.
    package static func measure(
        _ records: [TensorRecord], of source: any TensorSource
    ) throws -> [ValueStatistics?] {
        let stretches = TensorStretch.cut(records) {
            records[$0].encoding.isNumeric ? records[$0].encoding.group.elements : nil
        }
        let kernels = tspeft_statistics_at(tspeft_cpu_level())!.pointee
        let parts = try ResultSlots.collect(stretches.count, ValueStatistics()) { slots in
            let threads = ThreadTeam.available
            let buffers = (0..<threads).map { _ in DecodingBuffer() }
            try ThreadTeam(threads).takeItems(stretches.count) { item, thread in
                let stretch = stretches[item]
                let record = records[stretch.tensor]
                let range = record.bytes(of: stretch.elements)
                let value = try source.withBytes(range, of: record) {
                    measure($0, record.encoding, kernels, buffers[thread])
                }
                slots.put(value, at: item)
            }
        }
        var result: [ValueStatistics?] = records.map { $0.encoding.isNumeric ? ValueStatistics() : nil }
        var first = 0
        while first < stretches.count {
            let tensor = stretches[first].tensor
            let end = stretches[first...].firstIndex { $0.tensor != tensor } ?? stretches.count
            result[tensor] = total(parts[first..<end])
            first = end
        }
        return result
    }

    /// Elements that one call of a kernel reads of a type that it knows: enough to forget the call, few enough for sums
    /// of doubles to be exact to many digits.
    private static let directCount = 16 * DecodingBuffer.capacity

    private static func measure(
        _ bytes: UnsafeRawBufferPointer, _ encoding: TensorEncoding, _ kernels: tspeft_statistics_table,
        _ buffer: DecodingBuffer
    ) -> ValueStatistics {
        let direct: (@convention(c) (UnsafeRawPointer?, Int, UnsafeMutablePointer<tspeft_moments>?) -> Void)? =
            switch encoding {
            case .plain(.f32): kernels.moments_f32
            case .plain(.bf16): kernels.moments_bf16
            case .plain(.f16): kernels.moments_f16
            case .plain(.f64): kernels.moments_f64
            default: nil
            }
        let group = encoding.group
        let step = (direct == nil ? DecodingBuffer.capacity : directCount) / group.elements * group.bytes
        var parts: [ValueStatistics] = []
        parts.reserveCapacity(bytes.count / step + 1)
        for begin in stride(from: 0, to: bytes.count, by: step) {
            let piece = UnsafeRawBufferPointer(rebasing: bytes[begin..<min(begin + step, bytes.count)])
            var moments = tspeft_moments()
            if let direct {
                direct(piece.baseAddress, piece.count / group.bytes, &moments)
            } else if encoding.fitsFloat {
                let values = buffer.floats(piece, encoding)
                kernels.moments_f32(values.baseAddress, values.count, &moments)
            } else {
                let values = buffer.doubles(piece, encoding)
                kernels.moments_f64(values.baseAddress, values.count, &moments)
            }
            parts.append(ValueStatistics(moments))
        }
        return total(parts[...])
    }
}

extension TensorSource {
    /// Lends a part of a tensor's bytes to `body`, once, for reading from end to end.
    ///
    /// The kernel maps it at once, which costs less than a fault for each few pages, and unmaps it afterwards, so that
    /// a large checkpoint does not fill the memory that the process is seen to use; the pages stay in the system's
    /// cache.
    func withBytes<R>(
        _ range: Range<Int>, of record: TensorRecord, _ body: (UnsafeRawBufferPointer) throws -> R
    ) throws -> R {
        let file = mapping(of: record)
        let (start, end) = (record.offset + range.lowerBound, record.offset + range.upperBound)
        // After the last use: what is packed is unpacked as long as it is in use.
        defer { file.advise(start..<end, willNeed: false) }
        return try file.withBytes(in: start..<end) { bytes in
            file.populate(start..<end)
            // What comes next in the file is likely to be wanted next.
            file.advise(end..<end + range.count, willNeed: true)
            return try body(bytes)
        }
    }
}
