import CheckpointIO
import Foundation
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

@Suite struct InspectionTests {
    /// Types without numbers that are newer than the fixture.
    static let newerTypes: [DType] = [.f8e8m0, .f8e4m3fnuz, .f8e5m2fnuz, .c64]

    /// One tensor of each type that safetensors has and tspeft reads, with the same small whole numbers.
    @Test(arguments: DType.allCases.filter { !newerTypes.contains($0) })
    func everyPlainTypeIsMeasured(_ type: DType) throws {
        let file = try SafetensorsFile.open(fixture("formats/dtypes.safetensors"))
        let record = try file.requiredRecord(type.rawValue)
        let figures = try ValueStatistics.measure([record], of: file)[0]
        if type == .bool {
            // 0, 1, 1, ..., 1.
            #expect(figures?.minimum == 0 && figures?.maximum == 1 && figures?.finiteCount == 6)
            return
        }
        // 0, 1, ..., 5.
        #expect(figures?.minimum == 0 && figures?.maximum == 5 && figures?.mean == 2.5)
        #expect(figures?.standardDeviation == (35.0 / 12).squareRoot())
        #expect(figures?.finiteCount == 6 && figures?.nanCount == 0 && figures?.infiniteCount == 0)
    }

    @Test func everyBlockFormatIsMeasuredAsItIsDecoded() throws {
        let checkpoint = try Checkpoint.open(fixture("blocks/decode.gguf"))
        let figures = try ValueStatistics.measure(checkpoint.tensors, of: checkpoint)
        for (record, figures) in zip(checkpoint.tensors, figures) {
            guard case .block = record.encoding else { continue }
            let values = try checkpoint.floats(of: record).map(Double.init)
            try expect(figures, values)
        }
    }

    /// Holds figures against a plain computation of the definition.
    func expect(_ found: ValueStatistics?, _ values: [Double]) throws {
        let found = try #require(found)
        let finite = values.filter(\.isFinite)
        #expect(found.finiteCount == finite.count && found.nanCount == values.count(where: \.isNaN))
        #expect(found.infiniteCount == values.count(where: \.isInfinite))
        #expect(found.minimum == finite.min() && found.maximum == finite.max())
        guard !finite.isEmpty else { return }
        let size = finite.map(abs).max() ?? 0
        let mean = finite.reduce(0) { $0 + $1 / Double(finite.count) }
        let variance = finite.reduce(0) { $0 + ($1 - mean) * ($1 - mean) / Double(finite.count) }
        #expect(abs(found.mean! - mean) <= 1e-12 * size)
        #expect(abs(found.standardDeviation! - variance.squareRoot()) <= 1e-12 * size)
    }

    @Test func stretchesOfALargeTensorAddUpToTheWhole() throws {
        try withTemporaryFolder { folder in
            // More than three stretches of 4 MiB, the last one odd; a mean far from 0 that plain sums would lose.
            let count = 3_500_001
            var source = RandomStream(seed: 3)
            var values = (0..<count).map { _ in Float(10_000 + source.nextUniform()) }
            values[1_000_000] = .nan
            values[count - 1] = -.infinity
            let path = folder + "/large.safetensors"
            try SafetensorsWriter.write([(name: "w", shape: [count], values: values)], to: path)
            let file = try SafetensorsFile.open(path)
            try expect(try ValueStatistics.measure(file.tensors, of: file)[0], values.map(Double.init))
        }
    }

    @Test func equalNumbersHaveNoDeviation() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/ones.safetensors"
            try SafetensorsWriter.write(
                [(name: "w", shape: [70_000], values: Array(repeating: 0.1, count: 70_000))], to: path)
            let file = try SafetensorsFile.open(path)
            let figures = try #require(try ValueStatistics.measure(file.tensors, of: file)[0])
            #expect(figures.standardDeviation == 0 && figures.mean == Double(Float(0.1)))
        }
    }

    @Test(arguments: [
        // FIPS 180-4's own examples, and lengths around a block's padding (from Python's hashlib).
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (String(repeating: "a", count: 55), "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"),
        (String(repeating: "a", count: 64), "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"),
        (
            String(repeating: "a", count: 1_000_000),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        ),
    ])
    func hashIsTheStandards(_ text: String, _ digest: String) {
        var whole = SHA256()
        whole.add(text)
        #expect(whole.finished() == digest)
        var pieces = SHA256()
        for start in stride(from: 0, to: text.utf8.count, by: 37) {
            pieces.add(String(text.dropFirst(start).prefix(37)))
            if text.utf8.count > 1000, start > 1000 { return }
        }
        #expect(pieces.finished() == digest)
    }

    @Test func checksumIsWhatAnotherProgramMakesOfItsDescription() throws {
        // Tests/Scripts/check_checksum.py with Python 3.
        let file = try SafetensorsFile.open(fixture("formats/dtypes.safetensors"))
        let sums = try TensorChecksums(file.tensors, of: file)
        #expect(sums.total == "8ae6270b0ef89a571c2824eda387bf508c70750e385a04988205a242ec0bf833")
        let last = try #require(file.tensors.firstIndex { $0.name == "BOOL" })
        #expect(sums.digests[last] == "9959bcac3e66b3736f4df10ca0fb0ac3fb81a3a5325309c4e3a3fe2d61e75fb4")
        let shards = try Checkpoint.open(fixture("formats/sharded"))
        #expect(
            try TensorChecksums(shards.tensors, of: shards).total
                == "f64da5b920b52aa223f58450e8eee19257fa2e7aa0b5efee89ef7f30accc3e00")
    }

    @Test func checksumDependsOnNeitherOrderNorFiles() throws {
        try withTemporaryFolder { folder in
            let a = (name: "a", shape: [2, 3], values: [1, 2, 3, 4, 5, 6] as [Float])
            let b = (name: "b\\c\nd", shape: [2], values: [7, 8] as [Float])
            try SafetensorsWriter.write([a, b], to: folder + "/one.safetensors")
            try SafetensorsWriter.write([b, a], to: folder + "/two.safetensors", metadata: [])
            var builder = GGUFBuilder()
            builder.addTensor(b.name, shape: b.shape, floats: b.values)
            builder.addTensor(a.name, shape: a.shape, floats: a.values)
            try writeFile(folder + "/three.gguf", builder.file)
            func sum(_ name: String) throws -> String {
                let checkpoint = try Checkpoint.open(folder + "/" + name)
                return try TensorChecksums(checkpoint.tensors, of: checkpoint).total
            }
            let first = try sum("one.safetensors")
            #expect(try sum("two.safetensors") == first && sum("three.gguf") == first)
            try SafetensorsWriter.write(
                [(name: "a", shape: [3, 2], values: a.values), b], to: folder + "/four.safetensors")
            #expect(try sum("four.safetensors") != first)
        }
    }

    @Test func typesAreComparedByValue() throws {
        // The same numbers as F64 and in every other type.
        let file = try SafetensorsFile.open(fixture("formats/dtypes.safetensors"))
        let reference = try file.requiredRecord("F64")
        let others = file.tensors.filter { $0.shape == [2, 3] }
        let outcomes = try TensorPair.compare(
            others.map { TensorPair(before: reference, after: $0) }, before: file, after: file)
        for (other, outcome) in zip(others, outcomes) {
            switch other.encoding {
            case .plain(.f64): #expect(outcome == .identical)
            case .plain(.bool):
                // Truth values are others.
                guard case .compared(let comparison) = outcome else {
                    Issue.record("\(outcome)")
                    continue
                }
                #expect(comparison.differing > 0)
            default: #expect(outcome == .compared(TensorComparison()) || differsByNothing(outcome), "\(other.name)")
            }
        }
    }

    func differsByNothing(_ outcome: TensorPair.Outcome) -> Bool {
        guard case .compared(let comparison) = outcome else { return false }
        return comparison.differing == 0 && comparison.largest == 0 && comparison.relative == 0
    }

    @Test func changesAreCountedOverStretches() throws {
        try withTemporaryFolder { folder in
            let count = 2_500_000
            let before = (0..<count).map { Float($0 % 100) }
            var after = before
            for index in stride(from: 5, to: count, by: 1000) { after[index] += 2 }
            after[7] = .nan
            for (name, values) in [("a", before), ("b", after)] {
                try SafetensorsWriter.write(
                    [(name: "w", shape: [count / 10, 10], values: values)], to: "\(folder)/\(name).safetensors")
            }
            let (a, b) = (
                try SafetensorsFile.open(folder + "/a.safetensors"), try SafetensorsFile.open(folder + "/b.safetensors")
            )
            let outcome = try TensorPair.compare(
                [TensorPair(before: a.tensors[0], after: b.tensors[0])], before: a, after: b)[0]
            guard case .compared(let found) = outcome else {
                Issue.record("\(outcome)")
                return
            }
            #expect(found.differing == count / 1000 + 1 && found.incomparable == 1 && found.largest == 2)
            // The stretches with equal bytes are not decoded, and so must count in |A| all the same.
            let norm = before.enumerated().reduce(0.0) { $0 + ($1.offset == 7 ? 0 : Double($1.element * $1.element)) }
            #expect(abs(found.relative - (4 * Double(count / 1000) / norm).squareRoot()) < 1e-12)
        }
    }

    @Test func permutedRowsAreFoundWhereTheyAreStored() throws {
        try withTemporaryFolder { folder in
            let rows = (0..<6).map { row in (0..<4).map { Float(10 * row + $0) } }
            let order = [0, 3, 1, 4, 2, 5]
            try SafetensorsWriter.write(
                [(name: "w", shape: [6, 4], values: rows.flatMap { $0 })], to: folder + "/a.safetensors")
            try SafetensorsWriter.write(
                [(name: "w", shape: [6, 4], values: order.flatMap { rows[$0] })], to: folder + "/b.safetensors")
            let (a, b) = (
                try SafetensorsFile.open(folder + "/a.safetensors"), try SafetensorsFile.open(folder + "/b.safetensors")
            )
            let form = GGUFForm(rows: .rotaryPairs(headSize: 6))
            let outcomes = try TensorPair.compare(
                [
                    TensorPair(before: a.tensors[0], after: b.tensors[0], forms: (.same, form)),
                    TensorPair(before: a.tensors[0], after: b.tensors[0]),
                ], before: a, after: b)
            #expect(differsByNothing(outcomes[0]) && !differsByNothing(outcomes[1]))
        }
    }

    /// Columns that lie elsewhere, 1 + w in the place of w; and a value that is another for all that.
    @Test func columnsAndValuesOfGGUFsFormAreComparedInIt() throws {
        try withTemporaryFolder { folder in
            let form = GGUFForm(
                columns: .transposedGroups(first: 0, groupCount: 2, groupSize: 3, headSize: 1), values: .plusOne)
            let plain = randomValues(5 * 6, seed: 3, in: -1e-3...1e-3)
            var stored = plain
            for row in 0..<5 {
                for column in 0..<6 { stored[row * 6 + form.columns.gguf(column)] = plain[row * 6 + column] + 1 }
            }
            var changed = stored
            changed[17] += 0.5
            for (name, values) in [("a", plain), ("b", stored), ("c", changed)] {
                try SafetensorsWriter.write(
                    [(name: "w", shape: [5, 6], values: values)], to: folder + "/\(name).safetensors")
            }
            let files = try ["a", "b", "c"].map { try SafetensorsFile.open(folder + "/\($0).safetensors") }
            func outcome(_ place: Int, _ forms: (GGUFForm, GGUFForm)) throws -> TensorPair.Outcome {
                let pair = TensorPair(before: files[0].tensors[0], after: files[place].tensors[0], forms: forms)
                return try TensorPair.compare([pair], before: files[0], after: files[place])[0]
            }
            #expect(differsByNothing(try outcome(1, (.same, form))))
            guard case .compared(let found) = try outcome(2, (.same, form)) else {
                Issue.record("not compared")
                return
            }
            #expect(found.differing == 1 && found.largest == 0.5)
        }
    }
}
