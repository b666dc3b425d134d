import Adapters
import CheckpointIO
import Models
import TensorCore

extension AdapterDirectory {
    /// Compares what modules were before they were trained whole (`original_module`) with the base's, as far as both have
    /// rows: an adapter of other values was made for another base.
    ///
    /// Throws `AdapterError.wrongBase`, and what reading throws.
    func checkOriginals(_ placement: AdapterPlacement, base: ModelCheckpoint, names: BaseNames) throws {
        for original in extras.integers where original.areOriginal {
            guard case .existing(let name) = try names.tensor(for: original.name), let record = base.record(of: name),
                let type = record.encoding.plainType, record.shape == original.tensor.shape
            else { continue }
            let own = try base.checkpoint.withBytes(of: record) { Array($0) }
            guard original.tensor.bytes(as: type) == own else {
                throw AdapterError.wrongBase(
                    adapter: displayName, base: base.checkpoint.path,
                    difference: "'\(original.tensor.name)' holds other numbers than the base's '\(name)'")
            }
        }
        for original in extras.originals {
            let name: String
            switch try names.tensor(for: original.name) {
            case .existing(let tensor), .tied(_, let tensor): name = tensor
            case .new: continue
            }
            // Of what the file lacks rows of there is nothing to compare row by row.
            guard names.rowsDropped(of: name) == 0, let record = base.record(of: name),
                case .plain(let type) = record.encoding, type.isFloatingPoint,
                record.shape.dropFirst() == original.tensor.shape.dropFirst()
            else { continue }
            let (rows, width) = (
                min(record.shape.first ?? 1, original.tensor.shape.first ?? 1), original.tensor.rowWidth
            )
            guard try base.holds(original.tensor, rows: rows, width: width, in: name, within: type.relativeSpacing)
            else {
                throw AdapterError.wrongBase(
                    adapter: displayName, base: base.checkpoint.path,
                    difference: "'\(original.tensor.name)' holds other values than the base's '\(name)'")
            }
        }
    }
}

extension ModelCheckpoint {
    /// Whether rows of a tensor are those of `values`, but for a relative distance of roundings.
    fileprivate func holds(
        _ values: AdapterTensor, rows: Int, width: Int, in name: String, within distance: Float
    ) throws -> Bool {
        let strip = max(1, (1 << 16) / max(1, width))
        var (own, other) = ([Float](repeating: 0, count: strip * width), [Float](repeating: 0, count: strip * width))
        for start in stride(from: 0, to: rows, by: strip) {
            let part = start..<min(rows, start + strip)
            let count = part.count * width
            try own.withUnsafeMutableBufferPointer {
                try readFloats(name, rows: part, into: UnsafeMutableBufferPointer(rebasing: $0[..<count]))
            }
            other.withUnsafeMutableBufferPointer { values.copyRows(part, to: $0.baseAddress!) }
            for index in 0..<count where own[index] != other[index] {
                guard abs(own[index] - other[index]) <= abs(own[index]) * distance else { return false }
            }
        }
        return true
    }

    /// Whether a tensor holds exactly `values`, number for number.
    func holdsExactly(_ values: AdapterTensor, in name: String) throws -> Bool {
        guard let record = record(of: name), record.shape == values.shape, case .plain(let type) = record.encoding,
            type.isFloatingPoint
        else { return false }
        return try holds(values, rows: record.shape.first ?? 1, width: values.rowWidth, in: name, within: 0)
    }

    /// The tensor that scales a quantized weight, as FP8 checkpoints have it beside the weight.
    func scale(of tensor: String) -> String? {
        ["_scale_inv", "_scale"].map { tensor + $0 }.first { record(of: $0) != nil }
    }
}

extension DType {
    /// The distance of neighbouring numbers relative to them, at most.
    fileprivate var relativeSpacing: Float {
        switch self {
        case .bf16: 0x1p-7
        case .f16: 0x1p-10
        default: 0x1p-23
        }
    }
}
