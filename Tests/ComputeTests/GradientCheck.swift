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

    /// A weight of random numbers with a context of its own.
    static func layer(_ outputSize: Int, _ inputSize: Int, bias: Bool = false, seed: UInt64) -> FrozenLinear {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let weight = context.tensor([outputSize, inputSize])
        weight.copy(from: randomValues(weight.count, seed: seed))
        guard bias else { return FrozenLinear(weight: weight) }
        let vector = context.tensor([outputSize])
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
        output.adoptGradient(gradient)
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

    private func variable(
        _ shape: [Int], _ values: [Float], _ context: ComputeContext, needsGradient: Bool
    ) -> Variable {
        let tensor = context.tensor(shape)
        tensor.copy(from: values)
        return Variable(tensor, needsGradient: needsGradient)
    }
}
