import Adapters
import Compute
import Foundation
import TensorCore
import TestSupport
import Testing
import Training

/// AdamW against its definition in double precision, and the learning rate's schedule against transformers'.
@Suite struct OptimizerTests {
    /// F32 moments and parameters over ten steps.
    private static let adamTolerance = 2e-6

    private func parameter(_ name: String, _ values: [Float], _ context: ComputeContext) -> AdapterParameter {
        let tensor = context.tensor([values.count])
        tensor.copy(from: values)
        return AdapterParameter(name: name, value: tensor, context)
    }

    @Test(arguments: [
        AdamWSettings(), AdamWSettings(beta1: 0.8, beta2: 0.95, epsilon: 0.05, weightDecay: 0.1),
    ])
    func stepsAreThoseOfTheDefinition(settings: AdamWSettings) {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let sizes = [1, 37, 5]
        let parameters = sizes.enumerated().map {
            parameter("p\($0)", randomValues($1, seed: UInt64($0)), context)
        }
        let optimizer = AdamW(parameters, settings, context)
        var values = parameters.map { $0.value.toArray().map(Double.init) }
        var mean = sizes.map { [Double](repeating: 0, count: $0) }
        var square = mean
        for step in 1...10 {
            let rate = 0.01 * Double(step)
            let scale = step % 3 == 0 ? 0.25 : 1
            for (index, parameter) in parameters.enumerated() {
                let gradient = randomValues(sizes[index], seed: UInt64(100 * step + index))
                parameter.gradient.copy(from: gradient)
                for element in gradient.indices {
                    let g = Double(gradient[element]) * scale
                    values[index][element] *= 1 - rate * settings.weightDecay
                    mean[index][element] = settings.beta1 * mean[index][element] + (1 - settings.beta1) * g
                    square[index][element] = settings.beta2 * square[index][element] + (1 - settings.beta2) * g * g
                    let m = mean[index][element] / (1 - pow(settings.beta1, Double(step)))
                    let v = square[index][element] / (1 - pow(settings.beta2, Double(step)))
                    values[index][element] -= rate * m / (v.squareRoot() + settings.epsilon)
                }
            }
            optimizer.step(rate: rate, gradientScale: scale)
        }
        #expect(optimizer.stepCount == 10)
        for (index, parameter) in parameters.enumerated() {
            for (found, expected) in zip(parameter.value.toArray(), values[index]) {
                #expect(abs(Double(found) - expected) < Self.adamTolerance, "\(parameter.name)")
            }
        }
    }

    @Test func stepInPartsIsBitForBitTheStepOfTheWhole() {
        func values(partSize: Int) -> [Float] {
            let context = ComputeContext(dtype: .f32, threadCount: 2)
            let large = parameter("large", randomValues(333, seed: 1), context)
            large.gradient.copy(from: randomValues(333, seed: 2))
            let optimizer = AdamW([large], AdamWSettings(weightDecay: 0.1), context, partSize: partSize)
            optimizer.step(rate: 0.1, gradientScale: 0.5)
            return large.value.toArray() + [Float(optimizer.gradientNorm())]
        }
        #expect(values(partSize: 64) == values(partSize: 1 << 22))
    }

    @Test func gradientNormIsOfAllParametersTogether() {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let parameters = [parameter("a", [0, 0, 0], context), parameter("b", [0], context)]
        parameters[0].gradient.copy(from: [1, -2, 4])
        parameters[1].gradient.copy(from: [2])
        let optimizer = AdamW(parameters, AdamWSettings(), context)
        #expect(optimizer.gradientNorm() == 5)
        parameters[1].gradient.copy(from: [.nan])
        #expect(optimizer.gradientNorm().isNaN)
        // Squares of F32 overflow where those of doubles do not.
        parameters[1].gradient.copy(from: [3e38])
        #expect(abs(optimizer.gradientNorm() / 3e38 - 1) < 1e-6)
    }

    /// What transformers' get_scheduler gives (constant_with_warmup, linear, cosine), for a rate of 1 at each step of a
    /// run and at its end.
    @Test(arguments: [
        (ScheduleShape.constant, 3, 10, [0, 0.3333333333333333, 0.6666666666666666, 1, 1, 1, 1, 1, 1, 1, 1]),
        (
            .linear, 3, 10,
            [
                0, 0.3333333333333333, 0.6666666666666666, 1, 0.8571428571428571, 0.7142857142857143,
                0.5714285714285714,
                0.42857142857142855, 0.2857142857142857, 0.14285714285714285, 0,
            ]
        ),
        (
            .cosine, 3, 10,
            [
                0, 0.3333333333333333, 0.6666666666666666, 1, 0.9504844339512095, 0.8117449009293668,
                0.6112604669781572,
                0.38873953302184283, 0.18825509907063326, 0.04951556604879048, 0,
            ]
        ),
        (.constant, 0, 4, [1, 1, 1, 1, 1]),
        (.linear, 0, 4, [1, 0.75, 0.5, 0.25, 0]),
        (.cosine, 0, 4, [1, 0.8535533905932737, 0.5, 0.14644660940672627, 0]),
    ])
    func scheduleIsThatOfTransformers(shape: ScheduleShape, warmup: Int, total: Int, expected: [Double]) {
        let schedule = LearningRateSchedule(shape: shape, warmupSteps: warmup, totalSteps: total)
        for (step, factor) in expected.enumerated() {
            #expect(abs(schedule.factor(at: step) - factor) < 1e-15, "step \(step)")
        }
    }

    @Test func warmupAsLongAsTheRunNeverFalls() {
        let schedule = LearningRateSchedule(shape: .linear, warmupSteps: 5, totalSteps: 5)
        #expect((0..<5).map { schedule.factor(at: $0) } == [0, 0.2, 0.4, 0.6, 0.8])
    }
}
