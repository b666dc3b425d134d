import Compute
import TensorCore
import TestSupport
import Testing

@Suite struct ReplacedRowsTests {
    @Test func rowsAreTakenFromTheParts() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let (x, parts) = (context.tensor([4, 2]), context.tensor([2, 2]))
        x.copy(from: [1, 2, 3, 4, 5, 6, 7, 8])
        parts.copy(from: [10, 20, 30, 40])
        let tape = Tape(context, isRecording: false)
        let out = tape.replacingRows(
            [2, 0], of: Variable(x, needsGradient: false), by: Variable(parts, needsGradient: false))
        #expect(out.value.toArray() == [30, 40, 3, 4, 10, 20, 7, 8])
        #expect(x.toArray() == [1, 2, 3, 4, 5, 6, 7, 8])
    }

    @Test func gradientsGoWhereRowsCameFrom() {
        let check = GradientCheck { tape, inputs in
            tape.residual(inputs[0], plus: tape.replacingRows([3, 1], of: inputs[0], by: inputs[1]))
        }
        for error in check.errors(inputs: [[5, 6], [2, 6]]) { #expect(error < GradientCheck.tolerance) }
    }
}
