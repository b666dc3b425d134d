import Compute
import Foundation
import TensorCore
import TestSupport
import Testing

/// Mixtures of experts: the choice, the weights, what goes where, and their backward passes.
@Suite struct RoutingTests {
    /// Scores far enough apart that differences do not change a choice.
    private static let offsets: [Float] = [0, 3, -3, 6, 3, 6, 0, -3, -3, 0, 6, 3]

    private func spread(_ x: Variable, on tape: Tape) -> Variable {
        let offsets = Variable(tape.context.tensor([3, 4]), needsGradient: false)
        offsets.value.copy(from: Self.offsets)
        return tape.residual(x, plus: offsets)
    }

    @Test func highestScoresAreChosenAndEqualOnesInTheirOrder() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let scores = Variable(context.tensor([2, 4]), needsGradient: false)
        scores.value.copy(from: [1, 5, 5, 0, 2, 2, 2, 2])
        let (routing, weights) = Tape(context, isRecording: false).routed(scores, count: 2, .ofChosen)
        #expect(routing.experts == [1, 2, 0, 1] && weights.value.toArray() == [0.5, 0.5, 0.5, 0.5])
        let tokens = routing.tokens(expertCount: 4)
        #expect(tokens.map(\.rows) == [[1], [0, 1], [0], []] && tokens.map(\.choices) == [[0], [0, 1], [1], []])
        let all = Tape(context, isRecording: false).routed(scores, count: 2, .ofAll).weights.value.toArray()
        #expect(abs(all[2] - 0.25) < 1e-6 && abs(all[0] + all[1] - 0.98763) < 1e-4)
    }

    @Test(arguments: [RouterWeights.ofChosen, .ofAll]) func weightsPassGradientBack(weights: RouterWeights) {
        let check = GradientCheck { tape, inputs in
            tape.routed(spread(inputs[0], on: tape), count: 2, weights).weights
        }
        for error in check.errors(inputs: [[3, 4]]) { #expect(error < GradientCheck.tolerance) }
    }

    /// The way of a layer: scores and tokens of one input each, experts that see some of the tokens.
    @Test func mixturePassesGradientBack() {
        let layers = (0..<4).map { GradientCheck.layer(5, 5, bias: true, seed: 70 + 2 * UInt64($0)) }
        let check = GradientCheck { tape, inputs in
            let (routing, weights) = tape.routed(spread(inputs[0], on: tape), count: 2, .ofChosen)
            var outputs: [Variable] = []
            var places: [(rows: [Int32], choices: [Int32])] = []
            for (layer, place) in zip(layers, routing.tokens(expertCount: 4)) where !place.rows.isEmpty {
                outputs.append(tape.linear(tape.gathered(inputs[1], rows: place.rows), layer))
                places.append(place)
            }
            return tape.combined(outputs, places, weights: weights)
        }
        for error in check.errors(inputs: [[3, 4], [3, 5]]) { #expect(error < GradientCheck.tolerance) }
    }

    @Test func clampedProductPassesGradientBack() {
        let check = GradientCheck { tape, inputs in tape.clampedProduct(inputs[0], alpha: 1.702, limit: 20) }
        for error in check.errors(inputs: [[4, 10]]) { #expect(error < GradientCheck.tolerance) }
    }

    @Test func clampedProductCutsWhatIsBeyondTheLimit() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let tape = Tape(context, isRecording: true)
        let x = Variable(context.tensor([1, 8]), needsGradient: true)
        // Gate above, gate far below, up above, up below.
        x.value.copy(from: [9, 1, -9, 1, 1, 9, 1, -9])
        let y = tape.clampedProduct(x, alpha: 1, limit: 2)
        func gate(_ z: Float) -> Float { z / (1 + expf(-z)) }
        let expected = [2 * gate(2), 2 * gate(-9), 3 * gate(1), -gate(1)]
        for (found, value) in zip(y.value.toArray(), expected) { #expect(abs(found - value) < 1e-5) }
        let ones = context.tensor([1, 4])
        ones.copy(from: [1, 1, 1, 1])
        y.gradientSum.add(context, giving: ones)
        tape.runBackward()
        let gradient = x.gradient?.toArray() ?? []
        #expect(gradient[0] == 0 && gradient[1] != 0 && gradient[2] != 0 && gradient[3] != 0)
        #expect(gradient[4] != 0 && gradient[5] == 0 && gradient[6] != 0 && gradient[7] == 0)
    }
}
