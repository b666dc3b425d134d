import Compute
import TensorCore
import TestSupport

/// An operation of the tape, held against differences of its own forward pass.
///
/// The scalar that is differentiated is a fixed random combination of the output's elements, summed in double
/// precision.
struct GradientCheck {
    /// What single precision and differences leave, as a part of a gradient's largest element: a wrong term in a
    /// backward pass shows as 1e-2 or more.
    static let tolerance = 2e-4

    private let operation: (Tape, [Variable]) -> Variable

    init(_ operation: @escaping (Tape, [Variable]) -> Variable) {
        self.operation = operation
    }

    /// What bf16 leaves of a value or gradient, as a part of the largest element: a few roundings of 2^-9 each.
    static let bf16Tolerance = 2e-2

    /// A weight of random numbers, all of them bf16 numbers, with a context of its own.
    static func layer(
        _ outputSize: Int, _ inputSize: Int, bias: Bool = false, _ dtype: DType = .f32, seed: UInt64
    ) -> FrozenLinear {
        let context = ComputeContext(dtype: dtype, threadCount: 1)
        let weight = context.tensor([outputSize, inputSize])
        weight.copy(from: randomValues(weight.count, seed: seed).map { BFloat16($0).floatValue })
        guard bias else { return FrozenLinear(weight: weight) }
        let vector = context.tensor([outputSize], .f32)
        vector.copy(from: randomValues(outputSize, seed: seed + 1))
        return FrozenLinear(weight: weight, bias: vector)
    }

    /// The error of the gradient of each input; see `gradientError`.
    func errors(inputs shapes: [[Int]], seed: UInt64 = 1, stride: Int = 1) -> [Double] {
        let inputs = shapes.enumerated().map { index, shape in
            randomValues(shape.reduce(1, *), seed: seed + UInt64(index))
        }
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let tape = Tape(context, isRecording: true)
        let variables = zip(shapes, inputs).map { variable($0, $1, context, needsGradient: true) }
        let output = operation(tape, variables)
        let weights = randomValues(output.value.count, seed: seed + 1000)
        let gradient = context.tensor(output.value.shape)
        gradient.copy(from: weights)
        output.gradientSum.add(context, giving: gradient)
        tape.runBackward()
        // One thread does for the differences: starting a second costs more than a tiny operation.
        let single = ComputeContext(dtype: .f32, threadCount: 1)
        return variables.enumerated().map { index, variable in
            gradientError(variable.gradient?.toArray() ?? [], at: inputs[index], stride: stride) { changed in
                var values = inputs
                values[index] = changed
                let shifted = zip(shapes, values).map { self.variable($0, $1, single, needsGradient: false) }
                let output = operation(Tape(single, isRecording: false), shifted)
                return zip(weights, output.value.toArray()).reduce(0) { $0 + Double($1.0) * Double($1.1) }
            }
        }
    }

    /// How far output and gradients in BF16 are from those in F32 at the same point, each as a part of the largest
    /// element: the output's first.
    ///
    /// - Parameter streams: inputs that are F32 in either.
    func bf16Errors(inputs shapes: [[Int]], seed: UInt64 = 1, streams: Set<Int> = []) -> [Double] {
        let inputs = shapes.enumerated().map { index, shape in
            randomValues(shape.reduce(1, *), seed: seed + UInt64(index)).map { BFloat16($0).floatValue }
        }
        func results(_ dtype: DType) -> [[Float]] {
            let context = ComputeContext(dtype: dtype, threadCount: 2)
            let tape = Tape(context, isRecording: true)
            let variables = shapes.indices.map { index in
                variable(
                    shapes[index], inputs[index], context, streams.contains(index) ? .f32 : dtype, needsGradient: true)
            }
            let output = operation(tape, variables)
            let gradient = context.tensor(output.value.shape, output.value.dtype)
            gradient.copy(
                from: randomValues(gradient.count, seed: seed + 1000).map { BFloat16($0).floatValue })
            output.gradientSum.add(context, giving: gradient)
            tape.runBackward()
            return [output.value.toArray()] + variables.map { $0.gradient?.toArray() ?? [] }
        }
        return zip(results(.f32), results(.bf16)).map { expected, found in
            guard expected.count == found.count, !expected.isEmpty else { return .infinity }
            let largest = expected.reduce(0) { max($0, abs(Double($1))) }
            return zip(expected, found).reduce(0) { worst, pair in
                let error = abs(Double(pair.0) - Double(pair.1)) / largest
                return error.isNaN ? .infinity : max(worst, error)
            }
        }
    }

    private func variable(
        _ shape: [Int], _ values: [Float], _ context: ComputeContext, _ dtype: DType = .f32, needsGradient: Bool
    ) -> Variable {
        let tensor = context.tensor(shape, dtype)
        tensor.copy(from: values)
        return Variable(tensor, needsGradient: needsGradient)
    }
}
