import Compute
import Foundation
import TensorCore
import TestSupport
import Testing

/// The gated delta rule and the convolution before it: against loops in double, cut into runs, and backwards.
@Suite struct DeltaRuleTests {
    private static let shape = DeltaShape(keyHeadCount: 2, valueHeadCount: 4, keySize: 3, valueSize: 2)
    private static let decay = DeltaDecay(logRate: [0.1, -0.4, 0.6, -1], bias: [0.3, 0, -0.2, 0.5])
    private static let width = 2 * 2 * 3 + 4 * 2

    /// The rule as it is written down, for one run of tokens.
    private func reference(_ channels: [Float], _ shares: [Float], _ decays: [Float], rows: Int) -> [Double] {
        var out: [Double] = []
        var states = [[Double]](repeating: [Double](repeating: 0, count: 6), count: 4)
        for row in 0..<rows {
            for head in 0..<4 {
                func vector(_ start: Int, _ count: Int) -> [Double] {
                    (0..<count).map { Double(channels[row * Self.width + start + $0]) }
                }
                func unit(_ x: [Double]) -> [Double] {
                    let length = (x.reduce(0) { $0 + $1 * $1 } + 1e-6).squareRoot()
                    return x.map { $0 / length }
                }
                let q = unit(vector(head / 2 * 3, 3)).map { $0 / 3.0.squareRoot() }
                let (k, v) = (unit(vector(6 + head / 2 * 3, 3)), vector(12 + head * 2, 2))
                let share = 1 / (1 + exp(-Double(shares[row * 4 + head])))
                let x = Double(decays[row * 4 + head] + Self.decay.bias[head])
                let keep = exp(-exp(Double(Self.decay.logRate[head])) * log1p(exp(x)))
                var s = states[head].map { $0 * keep }
                for j in 0..<2 {
                    let u = share * (v[j] - (0..<3).reduce(0) { $0 + k[$1] * s[$1 * 2 + j] })
                    for i in 0..<3 { s[i * 2 + j] += k[i] * u }
                }
                states[head] = s
                for j in 0..<2 { out.append((0..<3).reduce(0) { $0 + q[$1] * s[$1 * 2 + j] }) }
            }
        }
        return out
    }

    private func variable(_ values: [Float], _ shape: [Int], _ context: ComputeContext) -> Variable {
        let variable = Variable(context.tensor(shape), needsGradient: false)
        variable.value.copy(from: values)
        return variable
    }

    @Test func ruleIsItsDefinitionAlsoCutIntoRuns() {
        let rows = 150
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let tape = Tape(context, isRecording: false)
        let channels = randomValues(rows * Self.width, seed: 1)
        let (shares, decays) = (randomValues(rows * 4, seed: 2), randomValues(rows * 4, seed: 3))
        func run(_ range: Range<Int>, _ state: DeltaState?, _ layout: TokenLayout? = nil) -> [Float] {
            func part(_ values: [Float], _ width: Int) -> Variable {
                variable(
                    Array(values[range.lowerBound * width..<range.upperBound * width]), [range.count, width], context)
            }
            return tape.deltaRule(
                channels: part(channels, Self.width), shares: part(shares, 4), decays: part(decays, 4), Self.shape,
                Self.decay, layout ?? TokenLayout(lengths: [range.count]), state: state
            ).value.toArray()
        }
        let expected = reference(channels, shares, decays, rows: rows)
        let whole = run(0..<rows, nil)
        let largest = expected.reduce(0) { max($0, abs($1)) }
        #expect(zip(whole, expected).allSatisfy { abs(Double($0) - $1) < 1e-5 * largest })
        let state = DeltaState(Self.shape, channels: Self.width, taps: 4)
        #expect(run(0..<70, state) + run(70..<71, state) + run(71..<rows, state) == whole)
        // A run that continues an earlier one of the batch.
        let layout = TokenLayout(
            positions: (0..<Int32(rows)).map { $0 },
            segments: [
                .init(queryStart: 0, count: 70),
                .init(queryStart: 70, count: 80, prefixStart: 0, prefixCount: 70),
            ])
        #expect(run(0..<rows, nil, layout) == whole)
    }

    @Test func rulePassesGradientBack() {
        let rows = 5
        let check = GradientCheck { tape, inputs in
            tape.deltaRule(
                channels: inputs[0], shares: inputs[1], decays: inputs[2], Self.shape, Self.decay,
                TokenLayout(lengths: [3, 2]))
        }
        for error in check.errors(inputs: [[rows, Self.width], [rows, 4], [rows, 4]]) {
            #expect(error < GradientCheck.tolerance)
        }
    }

    /// More tokens than states are kept of.
    @Test func ruleOfALongRunPassesGradientBack() {
        let rows = 70
        let check = GradientCheck { tape, inputs in
            tape.deltaRule(
                channels: inputs[0], shares: inputs[1], decays: inputs[2], Self.shape, Self.decay,
                TokenLayout(lengths: [rows]))
        }
        for error in check.errors(inputs: [[rows, Self.width], [rows, 4], [rows, 4]], stride: 97) {
            #expect(error < GradientCheck.tolerance)
        }
    }

    @Test func convolutionReadsWhatIsBehindInItsRunAlone() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let tape = Tape(context, isRecording: false)
        let (weights, values) = (randomValues(3 * 4, seed: 5), randomValues(9 * 3, seed: 6))
        func run(_ values: [Float], _ layout: TokenLayout, _ state: DeltaState? = nil) -> [Float] {
            tape.shortConvolution(
                variable(values, [values.count / 3, 3], context), weights: weights, layout, state: state
            ).value.toArray()
        }
        let whole = run(values, TokenLayout(lengths: [9]))
        for row in 0..<9 {
            for channel in 0..<3 {
                var sum = 0.0
                for tap in 0..<4 where row - 3 + tap >= 0 {
                    sum += Double(weights[channel * 4 + tap] * values[(row - 3 + tap) * 3 + channel])
                }
                #expect(abs(Double(whole[row * 3 + channel]) - sum / (1 + exp(-sum))) < 1e-5)
            }
        }
        let state = DeltaState(Self.shape, channels: 3, taps: 4)
        var parts: [Float] = []
        for range in [0..<1, 1..<6, 6..<9] {
            let part = Array(values[range.lowerBound * 3..<range.upperBound * 3])
            parts += run(part, TokenLayout(lengths: [range.count]), state)
        }
        #expect(parts == whole)
        let cut = run(values, TokenLayout(lengths: [4, 5]))
        #expect(Array(cut[..<12]) == Array(whole[..<12]) && cut[12] != whole[12])
        #expect(Array(cut[12...]) == run(Array(values[12...]), TokenLayout(lengths: [5])))
    }

    @Test func convolutionPassesGradientBack() {
        let weights = randomValues(3 * 4, seed: 5)
        let check = GradientCheck { tape, inputs in
            tape.shortConvolution(inputs[0], weights: weights, TokenLayout(lengths: [6, 2]))
        }
        for error in check.errors(inputs: [[8, 3]]) { #expect(error < GradientCheck.tolerance) }
    }

    @Test func sigmoidProductPassesGradientBack() {
        let check = GradientCheck { tape, inputs in
            tape.gatedProduct(.sigmoid, gate: inputs[0].columns(3..<6), up: inputs[1])
        }
        for error in check.errors(inputs: [[5, 6], [5, 3]]) { #expect(error < GradientCheck.tolerance) }
    }
}
