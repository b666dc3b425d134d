import CKernels
import Glibc
import TensorCore

extension TensorRecord {
    /// Where the elements of some rows lie among a tensor's bytes.
    struct StoredRange {
        /// The bytes to read, relative to the tensor's first.
        let bytes: Range<Int>
        /// Elements that those bytes hold before the wanted ones.
        let skipped: Int
        /// The wanted elements.
        let count: Int
    }

    /// Where rows (along the first axis; nil is all, a scalar has none) are stored, in whole groups: rows of a
    /// one-dimensional block tensor are single elements, which need not start a block.
    func storedRange(rows: Range<Int>?) -> StoredRange {
        guard let rows, let rowCount = shape.first else {
            return StoredRange(bytes: 0..<byteCount, skipped: 0, count: elementCount)
        }
        precondition(rows.lowerBound >= 0 && rows.upperBound <= rowCount, "rows outside the tensor")
        let width = rowCount == 0 ? 0 : elementCount / rowCount
        let (first, end) = (rows.lowerBound * width, rows.upperBound * width)
        let group = encoding.group
        let (firstGroup, endGroup) = (first / group.elements, (end + group.elements - 1) / group.elements)
        return StoredRange(
            bytes: firstGroup * group.bytes..<endGroup * group.bytes, skipped: first - firstGroup * group.elements,
            count: end - first)
    }

    /// Decodes elements of this tensor to `Float`.
    ///
    /// - Parameters:
    ///   - stored: which elements.
    ///   - data: the bytes that `stored` names, at any alignment.
    ///   - destination: as many elements as are wanted, row-major; a programmer's mistake traps.
    /// - Throws: `unsupportedEncoding` for the plain types that `isReadable` leaves out.
    func decode(
        _ stored: StoredRange, from data: UnsafeRawBufferPointer, file: String,
        into destination: UnsafeMutableBufferPointer<Float>
    ) throws(CheckpointError) {
        guard encoding.isReadable else {
            throw .unsupportedEncoding(file: file, tensor: name, encoding: encoding.description)
        }
        let count = stored.count
        precondition(destination.count == count, "a destination of \(destination.count) elements for \(count)")
        guard count > 0 else { return }
        let group = encoding.group
        let elements = data.count / group.bytes * group.elements
        if elements == count {
            encoding.decodeGroups(data.baseAddress!, into: destination.baseAddress!, elements: elements)
            return
        }
        let whole = [Float](unsafeUninitializedCapacity: elements) { buffer, filled in
            encoding.decodeGroups(data.baseAddress!, into: buffer.baseAddress!, elements: elements)
            filled = elements
        }
        for index in 0..<count { destination[index] = whole[stored.skipped + index] }
    }
}

extension TensorEncoding {
    /// Decodes the groups that `bytes` holds, at any alignment, to floats; the bytes must be whole groups, the
    /// destination as many elements, and the encoding one that `isReadable`.
    package func decode(_ bytes: UnsafeRawBufferPointer, into destination: UnsafeMutableBufferPointer<Float>) {
        let elements = checkedElementCount(bytes, destination.count)
        if elements > 0 { decodeGroups(bytes.baseAddress!, into: destination.baseAddress!, elements: elements) }
    }

    /// Whether elements are decoded to floats without rounding: all that `isReadable` but F64 and wide integers.
    package var fitsFloat: Bool {
        switch self {
        case .plain(.f64), .plain(.i32), .plain(.i64): false
        default: isReadable
        }
    }

    /// Whether elements are numbers of any kind that `decodeNumbers` knows: what `isReadable`, unsigned integers, truth
    /// values and the 8-bit floats E4M3 and E5M2.
    package var isNumeric: Bool {
        switch self {
        case .plain(.u8), .plain(.u16), .plain(.u32), .plain(.u64): true
        case .plain(.bool), .plain(.f8e4m3), .plain(.f8e5m2): true
        default: isReadable
        }
    }

    /// Decodes plain numbers to doubles, those of 64-bit integers rounded to nearest, truth values to 0 and 1; bytes
    /// and destination as in `decode`, the encoding a plain one that `isNumeric`.
    ///
    /// F8_E4M3 and F8_E5M2 are those of the Open Compute Project's "8-bit Floating Point Specification" (2023): E4M3
    /// has a bias of 7, no infinities and NaN only where all bits but the sign are set, E5M2 is the upper half of an
    /// F16.
    package func decodeNumbers(_ bytes: UnsafeRawBufferPointer, into destination: UnsafeMutableBufferPointer<Double>) {
        guard case .plain(let type) = self else { preconditionFailure("blocks are decoded to floats") }
        let count = checkedElementCount(bytes, destination.count)
        func convert<Value>(_ value: Value.Type, _ number: (Value) -> Double) {
            let size = MemoryLayout<Value>.size
            for index in 0..<count {
                destination[index] = number(bytes.loadUnaligned(fromByteOffset: index * size, as: value))
            }
        }
        switch type {
        case .f64: convert(Double.self) { $0 }
        case .f32: convert(Float.self) { Double($0) }
        case .f16: convert(UInt16.self) { Double(Float16(bitPattern: $0)) }
        case .bf16: convert(UInt16.self) { Double(Float(bitPattern: UInt32($0) << 16)) }
        case .i8: convert(Int8.self) { Double($0) }
        case .i16: convert(Int16.self) { Double($0) }
        case .i32: convert(Int32.self) { Double($0) }
        case .i64: convert(Int64.self) { Double($0) }
        case .u8: convert(UInt8.self) { Double($0) }
        case .u16: convert(UInt16.self) { Double($0) }
        case .u32: convert(UInt32.self) { Double($0) }
        case .u64: convert(UInt64.self) { Double($0) }
        case .bool: convert(UInt8.self) { $0 == 0 ? 0 : 1 }
        case .f8e4m3:
            convert(UInt8.self) { byte in
                let (sign, magnitude) = (UInt16(byte & 0x80) << 8, UInt16(byte & 0x7F))
                guard magnitude != 0x7F else { return .nan }
                // An F16 with these bits on top of its fraction is smaller by the difference of the biases, 15 - 7.
                return Double(Float16(bitPattern: sign | magnitude << 7)) * 256
            }
        case .f8e5m2: convert(UInt8.self) { Double(Float16(bitPattern: UInt16($0) << 8)) }
        case .f8e8m0, .f8e4m3fnuz, .f8e5m2fnuz, .c64:
            preconditionFailure("\(type.rawValue) is not numeric")
        }
    }

    private func checkedElementCount(_ bytes: UnsafeRawBufferPointer, _ wanted: Int) -> Int {
        let count = bytes.count / group.bytes * group.elements
        precondition(bytes.count % group.bytes == 0 && count == wanted, "\(bytes.count) bytes for \(wanted) elements")
        return count
    }

    fileprivate func decodeGroups(
        _ source: UnsafeRawPointer, into destination: UnsafeMutablePointer<Float>, elements: Int
    ) {
        switch self {
        case .block(let format):
            format.decode(source, into: destination, blocks: elements / format.elementsPerBlock)
        case .plain(.f32): memcpy(destination, source, elements * 4)
        case .plain(.f16): tspeft_decode_f16(source, destination, elements)
        case .plain(.bf16): tspeft_decode_bf16(source, destination, elements)
        case .plain(.f64): tspeft_decode_f64(source, destination, elements)
        case .plain(.i8): tspeft_decode_i8(source, destination, elements)
        case .plain(.i16): tspeft_decode_i16(source, destination, elements)
        case .plain(.i32): tspeft_decode_i32(source, destination, elements)
        case .plain(.i64): tspeft_decode_i64(source, destination, elements)
        case .plain(let type): preconditionFailure("\(type.rawValue) is not readable")
        }
    }
}
