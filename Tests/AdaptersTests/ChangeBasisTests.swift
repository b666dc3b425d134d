import Compute
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// The basis z = A x (`LowRankChange`): what statistics are taken in, and what a map of z means in a weight, each against
/// plain arithmetic in double precision, with a zero in AdaLoRA's E and a negative number in VeRA's d.
@Suite struct ChangeBasisTests {
    static let kinds: [AdapterKind] = [.lora, .adalora, .vera]

    private func bench(_ kind: AdapterKind) throws -> MethodBench {
        var bench = try MethodBench(.init(kind: kind), tokens: 5, dropoutKey: nil)
        bench.setValue(0, at: 1, of: PEFTNames.adaLoRAE)
        bench.setValue(-0.75, at: 0, of: PEFTNames.veraD)
        return bench
    }

    /// Rows of the bench's A, [rank, inputSize], and of what stands before it, M = outer diag(inner) A x.
    private func factors(
        _ bench: MethodBench, _ kind: AdapterKind
    ) -> (a: [[Double]], inner: [Double], outer: [[Double]]) {
        let (rank, inputSize) = (MethodBench.rank, MethodBench.inputSize)
        func rows(_ values: [Double], _ width: Int) -> [[Double]] {
            stride(from: 0, to: values.count, by: width).map { Array(values[$0..<$0 + width]) }
        }
        let ones = [Double](repeating: 1, count: rank)
        switch kind {
        case .lora:
            let scaling = 2.0 / Double(rank)
            return (
                rows(bench.values[PEFTNames.loraA]!, inputSize), ones,
                rows(bench.values[PEFTNames.loraB]!, rank).map { $0.map { scaling * $0 } }
            )
        case .adalora:
            let scaling = 2.0 / (Double(rank) + 1e-5)
            return (
                rows(bench.values[PEFTNames.adaLoRAA]!, inputSize), bench.values[PEFTNames.adaLoRAE]!,
                rows(bench.values[PEFTNames.adaLoRAB]!, rank).map { $0.map { scaling * $0 } }
            )
        default:
            let (sharedA, sharedB) = (bench.shared[0].values, bench.shared[1].values)
            let b = bench.values[PEFTNames.veraB]!
            return (
                rows(sharedA.map(Double.init), MethodBench.sharedInputSize).map { Array($0[..<inputSize]) },
                bench.values[PEFTNames.veraD]!,
                zip(rows(sharedB.map(Double.init), rank), b).map { row, factor in row.map { factor * $0 } }
            )
        }
    }

    @Test(arguments: kinds) func statisticsAreOfTheInnerProductAlone(_ kind: AdapterKind) throws {
        let bench = try bench(kind)
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let (inputSize, outputSize) = (MethodBench.inputSize, MethodBench.outputSize)
        let x = context.tensor([bench.tokens, inputSize])
        x.copy(from: bench.x)
        let output = context.zeros([bench.tokens, outputSize])
        let update = try bench.method(context).update(of: output, input: x, dropoutKey: nil)
        let z = try #require(update.innerActivations).toArray()
        let a = factors(bench, kind).a
        for token in 0..<bench.tokens {
            for (row, weights) in a.enumerated() {
                let expected = weights.indices.reduce(0.0) {
                    $0 + weights[$1] * Double(bench.x[token * inputSize + $1])
                }
                #expect(abs(Double(z[token * a.count + row]) - expected) < 1e-5)
            }
        }
    }

    @Test(arguments: kinds, [1, -0.375]) func mapOfZStandsBehindTheInnerProduct(
        _ kind: AdapterKind, _ share: Double
    ) throws {
        let bench = try bench(kind)
        let (rank, inputSize, outputSize) = (MethodBench.rank, MethodBench.inputSize, MethodBench.outputSize)
        let map = randomValues(rank * rank, seed: 91).map(Double.init)
        let adapter = try AdapterDirectory(
            configuration: AdapterConfiguration(
                bench.configuration.settings, isGated: false, targets: .names(["layer"])),
            modules: ["layer"],
            tensors: bench.tensors.map { AdapterTensor(PEFTNames.key("layer", $0.suffix), $0.shape, $0.values) }
                + bench.shared)
        guard case .added(var low) = kind.method.weightChange(of: "layer", inputSize: inputSize, in: adapter) else {
            Issue.record("\(kind) is low-rank")
            return
        }
        low.map = map
        low.share = share
        let folded = low.folded
        let (a, inner, outer) = factors(bench, kind)
        for row in 0..<outputSize {
            for column in 0..<inputSize {
                var (found, expected) = (0.0, 0.0)
                for k in 0..<rank {
                    found +=
                        Double(folded.scale) * Double(folded.b[row * rank + k])
                        * Double(folded.a[k * inputSize + column])
                    let mapped = (0..<rank).reduce(0.0) { $0 + map[k * rank + $1] * a[$1][column] }
                    expected += share * outer[row][k] * inner[k] * mapped
                }
                #expect(abs(found - expected) < 1e-5, "row \(row), column \(column)")
            }
        }
    }

    /// Without a map nothing is rounded but what peft rounds: E times A in float.
    @Test func changeWithoutAMapKeepsItsBits() throws {
        let bench = try bench(.adalora)
        let a = bench.tensors.first { $0.suffix == PEFTNames.adaLoRAA }!.values
        let e = bench.tensors.first { $0.suffix == PEFTNames.adaLoRAE }!.values
        let low = LowRankChange(a: a, inner: e, b: [], rank: e.count, scale: 1)
        #expect(low.folded.a == a.indices.map { a[$0] * e[$0 / MethodBench.inputSize] })
    }
}
