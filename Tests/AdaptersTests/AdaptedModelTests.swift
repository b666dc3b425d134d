import Adapters
import Compute
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

/// Whole models with adapters in them.
@Suite struct AdaptedModelTests {
    private static let sequences = [
        AdaptedModel.tokens(9, seed: 1), AdaptedModel.tokens(1, seed: 2), AdaptedModel.tokens(23, seed: 3),
    ]
    /// Sums in another order, through three layers in F32.
    private static let orderTolerance = 1e-5

    private func sameBits(_ one: [Float], _ other: [Float]) -> Bool {
        one.count == other.count && zip(one, other).allSatisfy { $0.bitPattern == $1.bitPattern }
    }

    @Test(arguments: [DType.f32, .bf16]) func closedGateLeavesBaseOutputBitForBit(dtype: DType) throws {
        let base = try AdaptedModel.baseLogits(dtype, Self.sequences)
        let adapted = try AdaptedModel {
            $0.dtype = dtype
            $0.tau = .infinity
        }
        #expect(sameBits(try adapted.logits(Self.sequences), base))
        // The adapter is not one that changes nothing by itself.
        for projection in adapted.adapter.projections { projection.gate?.tau = 0 }
        #expect(relativeError(try adapted.logits(Self.sequences), base) > 0.01)
    }

    @Test(arguments: [DType.f32, .bf16]) func openGateEqualsDense(dtype: DType) throws {
        let gated = try AdaptedModel {
            $0.dtype = dtype
            $0.tau = -.infinity
        }
        let dense = try AdaptedModel {
            $0.dtype = dtype
            $0.isGated = false
        }
        #expect(sameBits(try gated.logits(Self.sequences), try dense.logits(Self.sequences)))
    }

    @Test func newAdapterLeavesBaseOutputAsItWas() throws {
        let fresh = try AdaptedModel { $0.updateSize = 0 }
        let base = try AdaptedModel.baseLogits(.f32, Self.sequences)
        #expect(try fresh.logits(Self.sequences) == base)
    }

    @Test func packedSequencesGiveTheLogitsOfEachAlone() throws {
        let adapted = try AdaptedModel { $0.threadCount = 2 }
        try adapted.closeGatesHalfway(over: Self.sequences)
        let collector = StatisticsCollector(collectingInnerSums: false)
        let packed = try adapted.logits(Self.sequences, observer: collector)
        #expect(collector.statistics.count == 15)
        #expect(collector.statistics.allSatisfy { 0 < $0.active && $0.active < $0.tokens }, "gates decide both ways")
        let alone = try Self.sequences.flatMap { try adapted.logits([$0]) }
        #expect(relativeError(packed, alone) < Self.orderTolerance)
    }

    /// A sequence's later tokens and its neighbours must not reach a token.
    @Test func tokenSeesOnlyEarlierTokensOfItsSequence() throws {
        let adapted = try AdaptedModel()
        var changed = Self.sequences
        changed[0][8] = (changed[0][8] + 1) % 160
        changed[2][10] = (changed[2][10] + 1) % 160
        let (before, after) = (try adapted.logits(Self.sequences), try adapted.logits(changed))
        let vocabulary = 160
        for row in 0..<33 {
            let range = row * vocabulary..<(row + 1) * vocabulary
            let isSame = sameBits(Array(before[range]), Array(after[range]))
            #expect(isSame == !(row == 8 || row >= 20), "row \(row)")
        }
    }

    @Test func gradientsOfPackedSequencesAreSumsOfThoseOfEachAlone() throws {
        let adapted = try AdaptedModel { $0.threadCount = 2 }
        try adapted.closeGatesHalfway(over: Self.sequences)
        let scored = Self.sequences.reduce(0) { $0 + $1.count - 1 }

        /// Loss and its gradients over the sequences, each batch's tokens weighted as the whole's.
        func pass(_ batches: [[[Int32]]]) throws -> (loss: Double, gradients: [[Float]], g: [Double]) {
            adapted.adapter.beginStep()
            var loss = 0.0
            for sequences in batches {
                let tape = Tape(adapted.context, isRecording: true)
                let tokens = sequences.flatMap { $0 }
                let hidden = try adapted.model.forward(
                    tokens, TokenLayout(lengths: sequences.map(\.count)), in: Pass(tape))
                let ends = Set(sequences.indices.map { sequences[...$0].reduce(0) { $0 + $1.count } - 1 })
                let rows = tokens.indices.filter { !ends.contains($0) }
                loss +=
                    tape.crossEntropy(
                        hidden, head: adapted.model.head!, rows: rows.map(Int32.init),
                        targets: rows.map { tokens[$0 + 1] },
                        scale: 1 / Float(scored)
                    ).sum
                tape.runBackward()
            }
            return (
                loss, adapted.adapter.parameters.map { $0.gradient.toArray() },
                adapted.adapter.projections.map { $0.gate!.step.gradient(lambda: 1e-3) }
            )
        }
        let packed = try pass([Self.sequences])
        let alone = try pass(Self.sequences.map { [$0] })
        #expect(abs(packed.loss / alone.loss - 1) < Self.orderTolerance)
        for (index, parameter) in adapted.adapter.parameters.enumerated() {
            #expect(relativeError(packed.gradients[index], alone.gradients[index]) < 1e-4, "\(parameter.name)")
        }
        let largest = alone.g.reduce(0) { max($0, abs($1)) }
        for (one, other) in zip(packed.g, alone.g) { #expect(abs(one - other) < 1e-4 * largest) }
    }

    /// How far bf16 may be from f32 on the trained model, about three times what is seen: its operands have 8 bits, and
    /// each of six layers adds its rounding to a stream that is F32.
    private enum BF16 {
        /// Of the mean loss, relative.
        static let loss = 1e-3
        /// Of a logit, relative to the largest.
        static let logits = 0.0125
        /// Between the gradients of one tensor.
        static let gradientCosine = 0.999
    }

    @Test func bf16StaysNearF32() throws {
        let sequences = [
            AdaptedModel.tokens(40, seed: 4, below: 2048), AdaptedModel.tokens(25, seed: 5, below: 2048),
        ]
        func pass(_ dtype: DType) throws -> (loss: Double, logits: [Float], gradients: [[Float]]) {
            let adapted = try AdaptedModel {
                $0.path = AdaptedModel.tinyModel
                $0.dtype = dtype
                $0.updateSize = 0.02
            }
            let tokens = sequences.flatMap { $0 }
            let tape = Tape(adapted.context, isRecording: true)
            let hidden = try adapted.model.forward(
                tokens, TokenLayout(lengths: sequences.map(\.count)), in: Pass(tape))
            let rows = tokens.indices.filter { $0 != 39 && $0 != 64 }
            let losses = tape.crossEntropy(
                hidden, head: adapted.model.head!, rows: rows.map(Int32.init), targets: rows.map { tokens[$0 + 1] },
                scale: 1 / Float(rows.count))
            tape.runBackward()
            return (
                losses.sum / Double(rows.count), try adapted.logits(sequences),
                adapted.adapter.parameters.map { $0.gradient.toArray() }
            )
        }
        let (wide, narrow) = (try pass(.f32), try pass(.bf16))
        #expect(abs(narrow.loss / wide.loss - 1) < BF16.loss)
        #expect(relativeError(narrow.logits, wide.logits) < BF16.logits)
        #expect(narrow.logits != wide.logits)
        for (one, other) in zip(narrow.gradients, wide.gradients) {
            func product(_ a: [Float], _ b: [Float]) -> Double {
                zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) }
            }
            let cosine = product(one, other) / (product(one, one) * product(other, other)).squareRoot()
            #expect(cosine > BF16.gradientCosine)
        }
    }
}
