import CheckpointIO
import Compute
import Foundation
@testable import Models
import TensorCore
import TestSupport
import Testing

/// Weights that stay in the checkpoint's files give what copies of them give.
@Suite struct MappedMatrixTests {
    private static let shape = (outputs: 37, inputs: 29)

    /// A file with one matrix of `encoding`, behind so many bytes of another tensor.
    private func write(_ path: String, _ dtype: DType, before: Int = 0) throws {
        let count = Self.shape.outputs * Self.shape.inputs
        let values = randomValues(count, seed: 5)
        var bytes: [UInt8] = []
        switch dtype {
        case .bf16: for value in values { withUnsafeBytes(of: BFloat16(value).bitPattern) { bytes += $0 } }
        case .f16: for value in values { withUnsafeBytes(of: Float16(value)) { bytes += $0 } }
        default: for value in values { withUnsafeBytes(of: value) { bytes += $0 } }
        }
        let other = before > 0 ? #""a":{"dtype":"U8","shape":[\#(before)],"data_offsets":[0,\#(before)]},"# : ""
        var header =
            "{\(other)\"w\":{\"dtype\":\"\(dtype.rawValue)\",\"shape\":[\(Self.shape.outputs),\(Self.shape.inputs)],"
            + "\"data_offsets\":[\(before),\(before + bytes.count)]}}"
        while header.utf8.count % 8 != 0 { header += " " }
        var file = [UInt8]()
        withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { file += $0 }
        try writeFile(path, file + Array(header.utf8) + [UInt8](repeating: 0, count: before) + bytes)
    }

    private func mapped(_ path: String, _ context: ComputeContext) throws -> MappedMatrix? {
        let file = try SafetensorsFile.open(path)
        let record = try file.requiredRecord("w")
        return MappedMatrix(record, in: file.mapping(of: record), context)
    }

    @Test(arguments: [DType.f32, .bf16, .f16], [DType.f32, .bf16])
    func productsAndRowsAreThoseOfACopy(stored: DType, computed: DType) throws {
        try withTemporaryFolder { folder in
            try write(folder + "/x.safetensors", stored)
            let context = ComputeContext(dtype: computed)
            let matrix = try #require(try mapped(folder + "/x.safetensors", context))
            #expect(matrix.outputSize == Self.shape.outputs && matrix.inputSize == Self.shape.inputs)
            var values = [Float](repeating: 0, count: matrix.outputSize * matrix.inputSize)
            matrix.readRows(0..<matrix.outputSize, into: &values)
            let tensor = context.tensor([matrix.outputSize, matrix.inputSize], .f32)
            tensor.copy(from: values)
            let bias = context.tensor([matrix.outputSize], .f32)
            bias.copy(from: randomValues(matrix.outputSize, seed: 6))
            for tokens in [1, 5, 21] {
                let x = context.tensor([tokens, matrix.inputSize])
                x.copy(from: randomValues(x.count, seed: 7))
                let y = context.tensor([tokens, matrix.outputSize])
                matrix.multiply(x, bias: bias, into: y, context.products)
                let dx = context.tensor(x.shape)
                dx.copy(from: randomValues(x.count, seed: 8))
                let before = dx.toArray()
                matrix.multiplyTransposed(y, into: dx, accumulates: true, context.products)
                try context.throwFailure()
                let expected = reference(values, x.toArray(), bias.toArray(), tokens)
                expectNear(y.toArray(), expected, computed)
                let back = referenceBack(values, y.toArray(), tokens)
                expectNear(dx.toArray(), zip(before, back).map { $0 + $1 }, computed)
            }
        }
    }

    /// Rows are what products compute with: rounded where the products are in BF16.
    @Test func rowsAreRoundedWhereProductsAre() throws {
        try withTemporaryFolder { folder in
            try write(folder + "/x.safetensors", .f32)
            let context = ComputeContext(dtype: .bf16)
            let matrix = try #require(try mapped(folder + "/x.safetensors", context))
            var row = [Float](repeating: 0, count: matrix.inputSize)
            matrix.readRows(3..<4, into: &row)
            let all = randomValues(Self.shape.outputs * Self.shape.inputs, seed: 5)
            let exact = Array(all[3 * matrix.inputSize..<4 * matrix.inputSize])
            let isRounded = context.products.multipliesBF16
            let expected: [Float] = exact.map { isRounded ? BFloat16($0).floatValue : $0 }
            #expect(row == expected)
        }
    }

    @Test func numbersAtOddPlacesAreCopied() throws {
        try withTemporaryFolder { folder in
            try write(folder + "/x.safetensors", .bf16, before: 3)
            #expect(try mapped(folder + "/x.safetensors", ComputeContext(dtype: .bf16)) == nil)
        }
    }

    /// Opening a model copies vectors alone, and each linear layer lies in the file.
    @Test(arguments: [DType.f32, .bf16]) func openingCopiesNoMatrix(dtype: DType) throws {
        let checkpoint = try ModelCheckpoint.open(fixture("golden/llama-lora/model"))
        let context = ComputeContext(dtype: dtype)
        let model = try checkpoint.makeModel(context)
        #expect(model.projections.allSatisfy { $0.frozen.matrix is MappedMatrix } && model.head!.matrix is MappedMatrix)
        let norms = try (2 * checkpoint.configuration.layerCount + 1) * 512
        #expect(context.pool.usedBytes <= norms)
        let copied = try checkpoint.makeModel(context, .copied)
        #expect(copied.projections.allSatisfy { $0.frozen.matrix is DenseMatrix })
    }

    @Test func changedFileIsNoticed() throws {
        try withTemporaryFolder { folder in
            try SmallModel().write(to: folder)
            let checkpoint = try ModelCheckpoint.open(folder)
            try checkpoint.checkUnchanged()
            let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: folder + "/model.safetensors"))
            usleep(20_000)
            try handle.seekToEnd()
            try handle.write(contentsOf: [0])
            try handle.close()
            let error = #expect(throws: CheckpointError.self) { try checkpoint.checkUnchanged() }
            #expect(error?.exitStatus == .inputOutput)
        }
    }

    private func reference(_ w: [Float], _ x: [Float], _ bias: [Float], _ tokens: Int) -> [Float] {
        let (n, k) = Self.shape
        return (0..<tokens * n).map { index in
            let (row, column) = index.quotientAndRemainder(dividingBy: n)
            return Float(
                (0..<k).reduce(Double(bias[column])) { $0 + Double(x[row * k + $1]) * Double(w[column * k + $1]) })
        }
    }

    private func referenceBack(_ w: [Float], _ dy: [Float], _ tokens: Int) -> [Float] {
        let (n, k) = Self.shape
        return (0..<tokens * k).map { index in
            let (row, column) = index.quotientAndRemainder(dividingBy: k)
            return Float((0..<n).reduce(0.0) { $0 + Double(dy[row * n + $1]) * Double(w[$1 * k + column]) })
        }
    }

    /// Within one rounding to the computation's type, beside what sums lose.
    private func expectNear(_ found: [Float], _ expected: [Float], _ dtype: DType) {
        let largest = expected.reduce(0) { max($0, abs($1)) }
        let unit: Float = dtype == .f32 ? 1e-6 : 0x1p-8
        #expect(zip(found, expected).allSatisfy { abs($0 - $1) <= unit * largest })
    }
}
