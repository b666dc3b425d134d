import Compute
import Foundation
import TensorCore
import TestSupport
import Testing

/// The backward passes of what encoders and heads are made of, against differences of the forward passes.
@Suite struct EncoderOperationTests {
    private func expectSmall(_ errors: [Double], sourceLocation: SourceLocation = #_sourceLocation) {
        for (input, error) in errors.enumerated() {
            #expect(error < GradientCheck.tolerance, "gradient of input \(input)", sourceLocation: sourceLocation)
        }
    }

    private func tensor(_ shape: [Int], seed: UInt64) -> Tensor {
        let tensor = ComputeContext(dtype: .f32, threadCount: 1).tensor(shape)
        tensor.copy(from: randomValues(tensor.count, seed: seed))
        return tensor
    }

    @Test(arguments: [false, true]) func layerNormPassesGradientBack(hasBias: Bool) {
        let (weight, bias) = (tensor([9], seed: 30), hasBias ? tensor([9], seed: 31) : nil)
        for epsilon: Float in [1e-5, 0.5] {
            let check = GradientCheck { tape, inputs in
                tape.layerNorm(inputs[0], weight: weight, bias: bias, epsilon: epsilon)
            }
            expectSmall(check.errors(inputs: [[17, 9]]))
            #expect(check.bf16Errors(inputs: [[17, 9]], streams: [0]).allSatisfy { $0 < GradientCheck.bf16Tolerance })
        }
    }

    /// All but relu, whose kink differences step over; its slope is held in the kernels' tests.
    @Test(arguments: HiddenActivation.allCases.filter { $0 != .relu })
    func activationsPassGradientBack(activation: HiddenActivation) {
        expectSmall(GradientCheck { $0.activated($1[0], activation) }.errors(inputs: [[5, 7]], seed: 3))
        let gated = GradientCheck { tape, inputs in
            let parts = inputs[0].split([7, 7])
            return tape.activated(parts[0], activation, times: parts[1])
        }
        expectSmall(gated.errors(inputs: [[5, 14]], seed: 3))
    }

    @Test func dropoutPassesTheGradientOfWhatIsKept() {
        let check = GradientCheck { $0.dropped($1[0], rate: 0.4, key: 9) }
        expectSmall(check.errors(inputs: [[6, 11]]))
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let x = Variable(tensor([6, 11], seed: 4), needsGradient: false)
        let kept = Tape(context, isRecording: false).dropped(x, rate: 0.4, key: 9).value.toArray()
        #expect(kept.contains(0) && kept.contains { $0 != 0 })
    }

    /// All keys, or those at most so far away; with dropout of the probabilities and without.
    @Test(arguments: [Visibility.everything, .band(2)], [nil, ProbabilityDropout(rate: 0.3, key: 5)])
    func attentionToBothSidesPassesGradientBack(visibility: Visibility, dropout: ProbabilityDropout?) {
        let shape = AttentionShape(headCount: 2, keyValueHeadCount: 2, headSize: 6)
        var scoring = AttentionScoring(visibility)
        scoring.dropout = dropout
        let check = GradientCheck { [scoring] tape, inputs in
            tape.attention(
                q: inputs[0], k: inputs[1], v: inputs[2], shape, TokenLayout(lengths: [1, 7, 3]), scoring: scoring)
        }
        expectSmall(check.errors(inputs: [[11, 12], [11, 12], [11, 12]]))
    }

    private func relativeRows(_ longest: Int) -> RelativeRows {
        // Far distances share a row.
        RelativeRows(longest: longest) { max(-3, min(3, $0)) + 3 }
    }

    @Test(arguments: [(true, true), (true, false), (false, true)])
    func disentangledAttentionPassesGradientBack(has: (keys: Bool, queries: Bool)) {
        let shape = AttentionShape(headCount: 2, keyValueHeadCount: 2, headSize: 4)
        var scoring = AttentionScoring(.everything, scale: 0.4)
        scoring.dropout = ProbabilityDropout(rate: 0.2, key: 6)
        let check = GradientCheck { [scoring] tape, inputs in
            let relative = RelativeProjections(
                keys: has.keys ? inputs[3] : nil, queries: has.queries ? inputs[has.keys ? 4 : 3] : nil,
                relativeRows(6))
            return tape.disentangledAttention(
                q: inputs[0], k: inputs[1], v: inputs[2], relative, shape, TokenLayout(lengths: [6, 1, 4]),
                scoring: scoring)
        }
        let relative = [[Int]](repeating: [7, 8], count: has.keys && has.queries ? 2 : 1)
        expectSmall(check.errors(inputs: [[11, 8], [11, 8], [11, 8]] + relative))
        let errors = check.bf16Errors(inputs: [[11, 8], [11, 8], [11, 8]] + relative)
        #expect(errors.allSatisfy { $0 < GradientCheck.bf16Tolerance })
    }

    /// The scores of one head and one run, from their definition.
    @Test func disentangledScoresAreThreeProducts() {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let inputs = [[5, 3], [5, 3], [5, 3], [7, 3], [7, 3]].enumerated().map {
            Variable(tensor($0.element, seed: 90 + UInt64($0.offset)), needsGradient: false)
        }
        let values = inputs.map { $0.value.toArray().map(Double.init) }
        func dot(_ x: Int, _ i: Int, _ y: Int, _ j: Int) -> Double {
            (0..<3).reduce(0) { $0 + values[x][i * 3 + $1] * values[y][j * 3 + $1] }
        }
        let expected = (0..<5).flatMap { i in
            let scores = (0..<5).map { j in
                let row = max(-3, min(3, i - j)) + 3
                return exp(0.4 * (dot(0, i, 1, j) + dot(0, i, 3, row) + dot(1, j, 4, row)))
            }
            let sum = scores.reduce(0, +)
            return (0..<3).map { c in (0..<5).reduce(0) { $0 + scores[$1] / sum * values[2][$1 * 3 + c] } }
        }
        let found = Tape(context, isRecording: false).disentangledAttention(
            q: inputs[0], k: inputs[1], v: inputs[2],
            RelativeProjections(keys: inputs[3], queries: inputs[4], relativeRows(5)),
            AttentionShape(headCount: 1, keyValueHeadCount: 1, headSize: 3), TokenLayout(lengths: [5]),
            scoring: AttentionScoring(.everything, scale: 0.4)
        ).value.toArray()
        #expect(zip(found, expected).allSatisfy { abs(Double($0) - $1) < 1e-5 })
    }

    @Test func rowsOfSequencesPassGradientBack() {
        expectSmall(GradientCheck { $0.rows(of: $1[0], [0, 3, 4]) }.errors(inputs: [[6, 5]]))
        expectSmall(GradientCheck { $0.means(of: $1[0], over: [0..<3, 3..<4, 4..<6]) }.errors(inputs: [[6, 5]]))
    }

    @Test func linearLayerOfAHeadPassesGradientBack() {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let (weight, bias) = (tensor([4, 5], seed: 50), tensor([4], seed: 51))
        let check = GradientCheck { tape, inputs in
            tape.linear(
                inputs[0], weight: TrainableWeight(weight, tape.context), bias: TrainableWeight(bias, tape.context))
        }
        expectSmall(check.errors(inputs: [[3, 5]]))

        let x = randomValues(15, seed: 52), slopes = randomValues(12, seed: 53)
        func output(_ weight: [Float], _ bias: [Float], _ tape: Tape) -> (Variable, [TrainableWeight]) {
            let weights = [([4, 5], weight), ([4], bias)].map { shape, values in
                let value = context.tensor(shape, .f32)
                value.copy(from: values)
                return TrainableWeight(value, context)
            }
            let input = context.tensor([3, 5], .f32)
            input.copy(from: x)
            let y = tape.linear(Variable(input, needsGradient: false), weight: weights[0], bias: weights[1])
            return (y, weights)
        }
        let tape = Tape(context, isRecording: true)
        let (y, weights) = output(weight.toArray(), bias.toArray(), tape)
        let dy = context.tensor([3, 4], .f32)
        dy.copy(from: slopes)
        y.gradientSum.add(context, giving: dy)
        tape.runBackward()
        func sum(_ y: Variable) -> Double {
            zip(y.value.toArray(), slopes).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        let still = Tape(context, isRecording: false)
        let ofWeight = gradientError(weights[0].gradient.toArray(), at: weight.toArray()) {
            sum(output($0, bias.toArray(), still).0)
        }
        let ofBias = gradientError(weights[1].gradient.toArray(), at: bias.toArray()) {
            sum(output(weight.toArray(), $0, still).0)
        }
        #expect(ofWeight < GradientCheck.tolerance && ofBias < GradientCheck.tolerance)
    }

    @Test func lossesOfClassesAndValuesBeginTheBackwardPass() {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        func check(_ shape: [Int], _ loss: @escaping (Tape, Variable) -> RowLosses) {
            let values = randomValues(shape.reduce(1, *), seed: 70)
            func run(_ values: [Float], _ tape: Tape) -> (Double, Variable) {
                let logits = Variable(context.tensor(shape, .f32), needsGradient: true)
                logits.value.copy(from: values)
                return (0.25 * loss(tape, logits).sum, logits)
            }
            let tape = Tape(context, isRecording: true)
            let (_, logits) = run(values, tape)
            tape.runBackward()
            let error = gradientError(logits.gradient?.toArray() ?? [], at: values) {
                run($0, Tape(context, isRecording: false)).0
            }
            #expect(error < GradientCheck.tolerance)
        }
        check([3, 4]) { $0.crossEntropy(of: $1, targets: [3, 0, 1], scale: 0.25) }
        check([3, 1]) { $0.squaredErrors(of: $1, targets: [0.5, -1, 2], scale: 0.25) }
    }
}
